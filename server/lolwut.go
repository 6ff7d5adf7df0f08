package server

import (
	"math/rand/v2"
	"strings"

	"sett/commands"
	"sett/resp"
)

// lolwut is LOLWUT [VERSION version] [columns [rows]]. A sett is a badger's den: it shows one, dug anew each time.
func lolwut(s *session, b *buffers, args [][]byte) {
	args = args[1:]
	if len(args) > 1 && is(args[0], "version") {
		if _, ok := resp.ParseInt(args[1]); !ok {
			fail(b, commands.ErrNotInteger)
			return
		}
		args = args[2:]
	}
	size := [2]int64{66, 16} // columns and rows of the terminal
	for i := range args[:min(len(args), len(size))] {
		n, ok := resp.ParseInt(args[i])
		if !ok {
			fail(b, commands.ErrNotInteger)
			return
		}
		size[i] = min(max(n, 1), maxDen)
	}
	art := dig(int(size[0]), int(size[1])*2).String()
	b.out.Verbatim("txt", []byte(art+"\nRedis ver. "+s.server.opts.About.RedisVersion+"\n"))
}

// maxDen is the longest side of a den.
const maxDen = 1000

// den is what is earth and what is hollow, row by row.
type den struct {
	columns int
	earth   []bool
}

// dig begins with loose earth and lets it settle: a place becomes like most of those around it.
func dig(columns, rows int) den {
	d := den{columns, make([]bool, columns*rows)}
	for i := range d.earth {
		d.earth[i] = rand.IntN(100) < 46
	}
	for range 5 {
		settled := den{columns, make([]bool, len(d.earth))}
		for i := range d.earth {
			settled.earth[i] = d.earthAround(i%columns, i/columns) > 4
		}
		d = settled
	}
	return d
}

// earthAround counts the earth in the nine places of which x, y is the middle; beyond the edges there is nothing else.
func (d den) earthAround(x, y int) (n int) {
	for _, dy := range []int{-1, 0, 1} {
		for _, dx := range []int{-1, 0, 1} {
			if d.at(x+dx, y+dy) {
				n++
			}
		}
	}
	return n
}

func (d den) at(x, y int) bool {
	i := y*d.columns + x
	return x < 0 || x >= d.columns || i < 0 || i >= len(d.earth) || d.earth[i]
}

// String draws two rows in a line.
func (d den) String() string {
	var art strings.Builder
	for y := 0; y*d.columns < len(d.earth); y += 2 {
		for x := range d.columns {
			switch upper, lower := d.at(x, y), d.at(x, y+1); {
			case upper && lower:
				art.WriteString("█")
			case upper:
				art.WriteString("▀")
			case lower:
				art.WriteString("▄")
			default:
				art.WriteByte(' ')
			}
		}
		art.WriteByte('\n')
	}
	return art.String()
}
