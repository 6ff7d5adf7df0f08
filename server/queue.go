package server

import (
	"unsafe"

	"sett/commands"
)

// queue holds the commands between MULTI and EXEC. Their arguments are copied into blocks, because the read buffer moves on; a block is
// never moved, so the arguments may point into it.
type queue struct {
	steps []commands.Step
	bytes int // what the queue holds, bookkeeping included

	text []byte   // the newest block of argument bytes; len is what is used
	args [][]byte // the newest block of arguments
}

const (
	textBlockBytes = 8 << 10
	argsBlock      = 256
	stepBytes      = int(unsafe.Sizeof(commands.Step{}))
	argBytes       = int(unsafe.Sizeof([]byte{}))
)

// queuedBytes is what a command takes in a queue.
func queuedBytes(args [][]byte) int {
	n := stepBytes + len(args)*argBytes
	for _, arg := range args {
		n += len(arg)
	}
	return n
}

// add queues a copy of a command.
func (q *queue) add(row *commands.Row, args [][]byte, staged []commands.StagedArg) {
	if cap(q.args)-len(q.args) < len(args) {
		q.args = make([][]byte, 0, blockSize(len(q.steps), argsBlock, len(args)))
	}
	start := len(q.args)
	for _, arg := range args {
		q.args = append(q.args, q.copy(arg))
	}
	end := len(q.args)
	q.steps = append(q.steps, commands.Step{Row: row, Args: q.args[start:end:end], Staged: staged})
	q.bytes += queuedBytes(args)
}

func (q *queue) copy(arg []byte) []byte {
	if cap(q.text)-len(q.text) < len(arg) {
		q.text = make([]byte, 0, blockSize(len(q.steps), textBlockBytes, len(arg)))
	}
	start := len(q.text)
	q.text = append(q.text, arg...)
	return q.text[start:len(q.text):len(q.text)]
}

// blockSize keeps the blocks of the usual short transaction small.
func blockSize(steps, usual, least int) int {
	if steps < 16 {
		usual /= 16
	}
	return max(usual, least)
}

// clear forgets the commands, and the memory of all but a small queue.
func (q *queue) clear() {
	clear(q.steps)
	if cap(q.steps) > 64 {
		q.steps = nil
	}
	*q = queue{steps: q.steps[:0]}
}
