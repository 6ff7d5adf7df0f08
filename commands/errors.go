package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"sett/resp"
	"sett/storage"
	"sett/types"
)

// Error is an error reply without its leading "-". It begins with its code.
type Error string

func (e Error) Error() string { return string(e) }

// Errors of Redis, byte for byte.
const (
	ErrSyntax        = Error("ERR syntax error")
	ErrWrongType     = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	ErrNotInteger    = Error("ERR value is not an integer or out of range")
	ErrNotFloat      = Error("ERR value is not a valid float")
	ErrNoSuchKey     = Error("ERR no such key")
	ErrSameObject    = Error("ERR source and destination objects are the same")
	ErrIntRange      = Error("ERR value is out of range, value must between -2147483648 and 2147483647")
	ErrDBRange       = Error("ERR DB index is out of range")
	ErrFirstDB       = Error("ERR invalid first DB index")
	ErrSecondDB      = Error("ERR invalid second DB index")
	ErrInvalidCursor = Error("ERR invalid cursor")
	ErrInvalidSlot   = Error("ERR Invalid slot")
	ErrSlotOrCount   = Error("ERR Invalid slot or number of keys")

	ErrOverflow          = Error("ERR increment or decrement would overflow")
	ErrDecrementOverflow = Error("ERR decrement would overflow")
	ErrNaN               = Error("ERR increment would produce NaN or Infinity")
	ErrStringTooLong     = Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
	ErrOffsetRange       = Error("ERR offset is out of range")
	ErrBitOffset         = Error("ERR bit offset is not an integer or out of range")
	ErrBitPosBit         = Error("ERR The bit argument must be 1 or 0.")
	ErrBit               = Error("ERR bit is not an integer or out of range")
	ErrBitOpNot          = Error("ERR BITOP NOT must be called with a single source key.")
	ErrBitfieldType      = Error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
	ErrBitfieldOverflow  = Error("ERR Invalid OVERFLOW type specified")
	ErrBitfieldReadOnly  = Error("ERR BITFIELD_RO only supports the GET subcommand")

	ErrSampleRange       = Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
	ErrOutOfRange        = Error("ERR value is out of range")
	ErrNotPositive       = Error("ERR value is out of range, must be positive")
	ErrReplyTooLong      = Error("ERR reply exceeds maximum allowed size (proto-max-bulk-len)")
	ErrTimeout           = Error("ERR timeout is not a float or out of range")
	ErrTimeoutNegative   = Error("ERR timeout is negative")
	ErrNumKeys           = Error("ERR numkeys should be greater than 0")
	ErrTooManyKeys       = Error("ERR Number of keys can't be greater than number of args")
	ErrLimit             = Error("ERR LIMIT can't be negative")
	ErrIndexRange        = Error("ERR index out of range")
	ErrRankZero          = Error("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
	ErrCountNegative     = Error("ERR COUNT can't be negative")
	ErrMaxLenNegative    = Error("ERR MAXLEN can't be negative")
	ErrCountZero         = Error("ERR count should be greater than 0")
	ErrFieldTimeNegative = Error("ERR invalid expire time, must be >= 0")
	ErrFieldsWord        = Error("ERR Mandatory argument FIELDS is missing or not at the right position")
	ErrFieldsNumber      = Error("ERR Number of fields must be a positive integer")
	ErrFieldsPositive    = Error("ERR Parameter `numFields` should be greater than 0")
	ErrFieldsCount       = Error("ERR The `numfields` parameter must match the number of arguments")
	ErrHSetExNumber      = Error("ERR invalid number of fields")
	ErrHSetExNoTime      = Error("ERR missing expire time")
	ErrHSetExConditions  = Error("ERR Only one of FXX or FNX arguments can be specified")
	ErrHSetExTimes       = Error("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified")

	ErrInfinite     = Error("ERR value is NaN or Infinity")
	ErrHashNotInt   = Error("ERR hash value is not an integer")
	ErrHashNotFloat = Error("ERR hash value is not a float")

	ErrSortScore    = Error("ERR One or more scores can't be converted into double")
	ErrSortTooLarge = Error("ERR the elements to sort and to store exceed batch_max_bytes; nothing was changed") // ours

	ErrAddNXXX    = Error("ERR XX and NX options at the same time are not compatible")
	ErrAddGTLT    = Error("ERR GT, LT, and/or NX options at the same time are not compatible")
	ErrAddIncr    = Error("ERR INCR option supports a single increment-element pair")
	ErrScoreNaN   = Error("ERR resulting score is not a number (NaN)")
	ErrScoreBound = Error("ERR min or max is not a float")
	ErrLexBound   = Error("ERR min or max not valid string range item")
	ErrRangeLimit = Error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
	ErrLexScores  = Error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
	ErrWeight     = Error("ERR weight value is not a float")

	ErrLCSType     = Error("ERR The specified keys must contain string values")
	ErrLCSOptions  = Error("ERR If you want both the length and indexes, please just use IDX.")
	ErrLCSTooLong  = Error("ERR String too long for LCS")
	ErrLCSTooLarge = Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
	ErrLCSNoMemory = Error("ERR Insufficient memory, failed allocating transient memory for LCS")
	ErrNoIdleTime  = Error("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	ErrNoFrequency = Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	ErrNotHLL      = Error("WRONGTYPE Key is not a valid HyperLogLog string value.")
	ErrCorruptHLL  = Error("INVALIDOBJ Corrupted HLL object detected")
	ErrDenseHLL    = Error("ERR HLL encoding is not sparse")
	ErrNoHLL       = Error("ERR The specified key does not exist")

	ErrExpireNX = Error("ERR NX and XX, GT or LT options at the same time are not compatible")
	ErrExpireGT = Error("ERR GT and LT options at the same time are not compatible")

	ErrOOM     = Error("OOM command not allowed when used memory > 'maxmemory'.")
	ErrMaxDisk = Error("OOM command not allowed when the data directory > 'max_disk'.") // ours

	ErrNestedMulti    = Error("ERR MULTI calls can not be nested")
	ErrExecNoMulti    = Error("ERR EXEC without MULTI")
	ErrDiscardNoMulti = Error("ERR DISCARD without MULTI")
	ErrWatchInMulti   = Error("ERR WATCH inside MULTI is not allowed")
	ErrNotInMulti     = Error("ERR Command not allowed inside a transaction")
	ErrExecAbort      = Error("EXECABORT Transaction discarded because of previous errors.")

	ErrNotFromScript  = Error("ERR This Redis command is not allowed from script")
	ErrInvalidCommand = Error("ERR Invalid command specified")
	ErrNoKeyArguments = Error("ERR The command has no key arguments")
	ErrInvalidArity   = Error("ERR Invalid number of arguments specified for command")
	ErrInvalidKeys    = Error("ERR Invalid arguments specified for command")
)

// ErrArity is what a command answers that was given too few or too many arguments.
func ErrArity(name string) Error {
	return Error("ERR wrong number of arguments for '" + name + "' command")
}

// ErrUnknownCommand quotes, as Redis does, up to 128 bytes of the name and of the arguments.
func ErrUnknownCommand(args [][]byte) Error {
	const limit = 128
	var quoted strings.Builder
	for _, arg := range args[1:] {
		left := limit - quoted.Len()
		if left <= 0 {
			break
		}
		quoted.WriteString("'" + CString(arg, left) + "' ")
	}
	return Error("ERR unknown command '" + CString(args[0], limit) + "', with args beginning with: " + quoted.String())
}

// ErrExecRefused is what EXEC answers if it is refused itself: the transaction is gone with it.
func ErrExecRefused(why error) Error {
	return Error("EXECABORT Transaction discarded because of: " + strings.TrimPrefix(why.Error(), "ERR "))
}

// ErrUnknownPFDebug is PFDEBUG's answer to a subcommand it does not know.
func ErrUnknownPFDebug(arg []byte) Error {
	return Error("ERR Unknown PFDEBUG subcommand '" + CString(arg, len(arg)) + "'")
}

// ErrUnknownSubcommand is what a container answers.
func ErrUnknownSubcommand(container string, arg []byte) Error {
	return Error("ERR unknown subcommand '" + CString(arg, 128) + "'. Try " + strings.ToUpper(container) + " HELP.")
}

// ErrInputKeys says that a command was given no keys to read from.
func ErrInputKeys(command string) Error {
	return Error("ERR at least 1 input key is needed for '" + command + "' command")
}

// ErrExpireTime says that the argument for a time is zero, negative or too large.
func ErrExpireTime(command string) Error {
	return Error("ERR invalid expire time in '" + command + "' command")
}

// ErrUnknownArgument is HSETEX's answer to an option it does not know.
func ErrUnknownArgument(arg []byte) Error {
	return Error("ERR unknown argument: " + CString(arg, len(arg)))
}

// ErrUnsupportedOption is EXPIRE's answer to an option it does not know.
func ErrUnsupportedOption(option []byte) Error {
	return Error("ERR Unsupported option " + CString(option, len(option)))
}

// ErrNameTooLong is ours: Redis has no such limit.
func ErrNameTooLong(bytes, limit int) Error {
	return Error("ERR key of " + strconv.Itoa(bytes) + " bytes is longer than max_name_bytes (" + strconv.Itoa(limit) + ")")
}

// ErrStagedMax is ours: too much is arriving at the same time.
func ErrStagedMax(bytes, staged, limit int64) Error {
	return Error(fmt.Sprintf("ERR value of %d bytes: with the %d bytes of values that are arriving already it exceeds staged_max_bytes (%d)", bytes, staged, limit))
}

// ErrDeriveTouched is ours: a large value is read without stopping those who write it.
const ErrDeriveTouched = Error("TRYAGAIN the value was written again and again while it was read; nothing was changed")

// ErrCap is ours.
const ErrCap = Error("ERR a cap is a number of elements, 0 for none")

// ErrCapPatterns is ours.
func ErrCapPatterns(limit int) Error {
	return Error(fmt.Sprintf("ERR the patterns of SETT CAP would exceed value_threshold (%d bytes)", limit))
}

// CString is what C's %.*s shows of an argument: up to its first zero byte.
func CString(arg []byte, limit int) string {
	arg = arg[:min(len(arg), limit)]
	for i, c := range arg {
		if c == 0 {
			return string(arg[:i])
		}
	}
	return string(arg)
}

// ReplyError writes an error that a client may see. It returns false, and writes nothing, for any other: those say that the node is
// broken or shuts down.
func ReplyError(w *resp.Writer, err error) bool {
	var (
		reply   Error
		corrupt *storage.CorruptError
		misconf *storage.MisconfError
	)
	switch {
	case errors.As(err, &reply):
		w.Error(string(reply))
	case errors.As(err, &corrupt):
		w.Error("CORRUPT " + corrupt.Reason)
	case errors.As(err, &misconf):
		w.Error("MISCONF " + misconf.Reason)
	case errors.Is(err, storage.ErrTooLarge):
		w.Error("ERR the effects of this command exceed batch_max_bytes; nothing was changed")
	case errors.Is(err, types.ErrAlike):
		w.Error("ERR too many long members of one score begin with the same 4096 bytes; nothing was changed")
	case errors.Is(err, storage.ErrViewTooOld):
		w.Error("TRYAGAIN the command read for longer than view_max_age")
	case errors.Is(err, storage.ErrNotEvaluating):
		w.Error("TRYAGAIN this node does not evaluate commands now")
	default:
		return false
	}
	return true
}
