package server

import (
	"fmt"

	"sett/commands"
)

// Errors that only the server answers; those of commands are in commands/errors.go.
const (
	errLoading    = commands.Error("LOADING Redis is loading the dataset in memory")
	errNoShutdown = commands.Error("ERR No shutdown in progress.")
	errNoDebug    = commands.Error(`ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a ` +
		"local connection, otherwise you need to set this option in the configuration file, and then restart the server.")

	// Ours: Redis queues until memory ends.
	errQueueTooLong = commands.Error("ERR the commands queued since MULTI exceed client-query-buffer-limit")

	// The two ends of a reply whose speculation has ended. No client repeats a command by itself after the first, which may have
	// taken effect.
	errInDoubt  = commands.Error("INDOUBT the outcome of this write is unknown: it may or may not have taken effect")
	errTryAgain = commands.Error("TRYAGAIN this reply had seen writes whose outcome is unknown; nothing was changed")
)

// errArgTooLong is ours: Redis gathers an argument of any length in memory.
func errArgTooLong(arg, bytes, limit int) commands.Error {
	return commands.Error(fmt.Sprintf("ERR argument %d of %d bytes: only the values of strings may be longer than %d bytes (memory_budget / 8)", arg, bytes, limit))
}

// errExecRefused is what an EXEC answers that was itself refused, which also discards the transaction.
func errExecRefused(why error) commands.Error {
	return commands.Error("EXECABORT Transaction discarded because of: " + withoutCode(why.Error()))
}

// withoutCode leaves "ERR" out, as Redis does when it quotes an error in another.
func withoutCode(text string) string {
	if len(text) > 4 && text[:4] == "ERR " {
		return text[4:]
	}
	return text
}

// errDebug is DEBUG's answer to what it does not know.
func errDebug(subcommand []byte) commands.Error {
	return commands.Error("ERR unknown subcommand or wrong number of arguments for '" + string(subcommand[:min(len(subcommand), 128)]) + "'. Try DEBUG HELP.")
}
