package resp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// outcome is all that a stream comes to: its commands, and how it ended.
type outcome struct {
	commands [][]string
	err      error
	left     int // bytes of a command that is not whole
}

func (o outcome) String() string { return fmt.Sprintf("%q err=%v left=%d", o.commands, o.err, o.left) }

// serve runs a stream through Check and Parse as a connection does, cut into the pieces that cut asks for (given how many
// bytes remain; at least 1).
func serve(stream []byte, limits Limits, cut func(remaining int) int) (outcome, error) {
	var o outcome
	var buf []byte
	var st State
	var args [][]byte
	enough := 0 // bytes of buf below which Check promised that the command would not be whole
	for len(stream) > 0 {
		size := cut(len(stream))
		buf = append(buf, stream[:size]...)
		stream = stream[size:]
		for {
			n, need, err := Check(buf, limits, &st)
			if err != nil {
				o.err = err
				return o, nil
			}
			if n == 0 {
				if need < 1 || need > len(buf)+stepBytes {
					return o, fmt.Errorf("need = %d with %d bytes there", need, len(buf))
				}
				enough = len(buf) + need
				break
			}
			if n < enough {
				return o, fmt.Errorf("asked for %d bytes, the command has %d", enough, n)
			}
			if st != (State{}) {
				return o, fmt.Errorf("state %+v after a whole command", st)
			}
			if args, err = Parse(buf[:n], args); err != nil {
				o.err = err
				return o, nil
			}
			o.add(args)
			buf, enough = append([]byte(nil), buf[n:]...), 0
		}
	}
	o.left = len(buf)
	return o, nil
}

func (o *outcome) add(args [][]byte) {
	if len(args) == 0 {
		return
	}
	var command []string
	for _, arg := range args {
		command = append(command, string(arg))
	}
	o.commands = append(o.commands, command)
}

func (o outcome) equal(other outcome) bool {
	return errors.Is(o.err, other.err) && errors.Is(other.err, o.err) && o.left == other.left &&
		slices.EqualFunc(o.commands, other.commands, slices.Equal[[]string])
}

// reference is the same, naively: on the whole stream, with regular expressions and copies.
func reference(stream string, limits Limits) outcome {
	var o outcome
	for stream != "" {
		command, rest, whole, err := referenceCommand(stream, limits)
		if err != nil {
			o.err = err
			return o
		}
		if !whole {
			break
		}
		if len(command) > 0 {
			o.commands = append(o.commands, command)
		}
		stream = rest
	}
	o.left = len(stream)
	return o
}

func referenceCommand(stream string, limits Limits) (command []string, rest string, whole bool, err error) {
	if stream[0] != '*' {
		line, found, err := referenceLine(stream, "\n", limits, errInlineTooBig)
		if err != nil || !found {
			return nil, "", false, err
		}
		command, ok := referenceWords(strings.TrimSuffix(line, "\r"))
		if !ok {
			return nil, "", false, errQuotes
		}
		return command, stream[len(line)+1:], true, nil
	}
	rest = stream
	line, found, err := referenceLine(rest, "\r", limits, errCountTooBig)
	if err != nil || !found || len(rest) < len(line)+2 {
		return nil, "", false, err
	}
	count, ok := referenceNumber(line[1:])
	if !ok || count > limits.MaxArgs {
		return nil, "", false, errCount
	} else if count > 10 && !limits.Authenticated {
		return nil, "", false, errCountUnauth
	}
	for rest = rest[len(line)+2:]; count > 0; count-- {
		line, found, err := referenceLine(rest, "\r", limits, errBulkLineTooBig)
		if err != nil || !found || len(rest) < len(line)+2 {
			return nil, "", false, err
		}
		if rest[0] != '$' {
			return nil, "", false, ProtocolError("Protocol error: expected '$', got '" + rest[:1] + "'")
		}
		size, ok := referenceNumber(line[1:])
		if !ok || size < 0 || size > limits.MaxBulkBytes {
			return nil, "", false, errBulk
		} else if size > 16384 && !limits.Authenticated {
			return nil, "", false, errBulkUnauth
		}
		rest = rest[len(line)+2:]
		if len(stream)-len(rest)+size+2 > limits.MaxQueryBytes {
			return nil, "", false, ErrQueryTooLong
		}
		if len(rest) < size+2 {
			return nil, "", false, nil
		}
		command = append(command, rest[:size])
		rest = rest[size+2:]
	}
	return command, rest, true, nil
}

func referenceLine(s, end string, limits Limits, tooBig error) (line string, found bool, err error) {
	visible, _, _ := strings.Cut(s, "\x00")
	line, _, found = strings.Cut(visible, end)
	if !found {
		line = s
	}
	if len(line) > limits.MaxInlineBytes {
		return "", false, tooBig
	}
	return line, found, nil
}

func referenceNumber(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return int(n), err == nil && strconv.FormatInt(n, 10) == s
}

var hexEscape = regexp.MustCompile(`^\\x([0-9a-fA-F]{2})`)

// referenceWords splits an inline command one character at a time. There is no NUL in one, so that it can mean the end.
func referenceWords(line string) (words []string, ok bool) {
	line += "\x00"
	mode, word := "blank", ""
	for i := 0; i < len(line); i++ {
		c := line[i : i+1]
		blank := strings.Contains(" \t\n\v\f\r\x00", c)
		switch {
		case mode == "blank" && !blank:
			mode, word = "word", ""
			i--
		case mode == "blank":
		case mode == "word" && strings.Contains(" \t\n\r\x00", c), mode == "closed" && blank:
			mode, words = "blank", append(words, word)
		case mode == "word" && strings.Contains(`"'`, c):
			mode = c
		case mode == "closed", mode != "word" && c == "\x00":
			return nil, false
		case mode == c:
			mode = "closed"
		case mode == `"` && hexEscape.MatchString(line[i:]):
			b, _ := strconv.ParseUint(line[i+2:i+4], 16, 8)
			word += string([]byte{byte(b)})
			i += 3
		case mode == `"` && c == `\` && line[i+1] != 0:
			word += strings.NewReplacer("n", "\n", "r", "\r", "t", "\t", "b", "\b", "a", "\a").Replace(line[i+1 : i+2])
			i++
		case mode == `'` && c == `\` && line[i+1] == '\'':
			word += `'`
			i++
		default:
			word += c
		}
	}
	return words, true
}

// randomStream makes a few commands of all kinds, mostly ECHO, and often damages them.
func randomStream(rnd *rand.Rand) []byte {
	var s bytes.Buffer
	for range 1 + rnd.Intn(4) {
		switch rnd.Intn(8) {
		case 0:
			s.WriteString([]string{"\r\n", "*0\r\n", "*-1\r\n", " \t\n", "*-77\r\n"}[rnd.Intn(5)])
		case 1, 2:
			s.WriteString("echo")
			for range rnd.Intn(3) {
				s.WriteString([]string{" ", " ", "\t", " \v"}[rnd.Intn(4)] + randomWord(rnd))
			}
			s.WriteString([]string{"\r\n", "\n"}[rnd.Intn(2)])
		default:
			args := []string{"ECHO"}
			for range rnd.Intn(4) {
				args = append(args, randomWord(rnd))
			}
			fmt.Fprintf(&s, "*%d\r\n", len(args))
			for _, arg := range args {
				fmt.Fprintf(&s, "$%d\r\n%s\r\n", len(arg), arg)
			}
		}
	}
	b := s.Bytes()
	if rnd.Intn(2) == 0 {
		return b
	}
	const telling = "*$-0129\r\n\x00 \"'\\x\xffa"
	for range 1 + rnd.Intn(3) {
		at := rnd.Intn(len(b))
		switch c := telling[rnd.Intn(len(telling))]; rnd.Intn(3) {
		case 0:
			b[at] = c
		case 1:
			b = slices.Insert(b, at, c)
		default:
			b = slices.Delete(b, at, at+1)
		}
		if len(b) == 0 {
			return []byte("\n")
		}
	}
	return b
}

func randomWord(rnd *rand.Rand) string {
	const letters = `ab0\"'x4n` + "\r\n \xfe"
	word := make([]byte, rnd.Intn(12))
	for i := range word {
		word[i] = letters[rnd.Intn(len(letters))]
	}
	if rnd.Intn(3) == 0 {
		return strconv.Quote(string(word))
	}
	return string(word)
}
