package commands

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
)

// BITOP and BITFIELD as plain arithmetic: a part of plainStrings.

func (p plainStrings) bitOp(op, to string, names []string) string {
	length := 0
	for _, name := range names {
		length = max(length, len(p[name]))
	}
	result := make([]byte, length)
	for n, name := range names {
		source := append(p[name][:len(p[name]):len(p[name])], make([]byte, length-len(p[name]))...)
		for i, b := range source {
			switch {
			case op == "not":
				result[i] = ^b
			case n == 0:
				result[i] = b
			case op == "and":
				result[i] &= b
			case op == "or":
				result[i] |= b
			default:
				result[i] ^= b
			}
		}
	}
	if delete(p, to); length > 0 {
		p[to] = result
	}
	return num(length)
}

// bigField is a field as a big-endian number of some bits.
type bigField struct {
	signed     bool
	bits, from int
}

func (f bigField) limits() (least, most *big.Int) {
	one := big.NewInt(1)
	if f.signed {
		half := new(big.Int).Lsh(one, uint(f.bits-1))
		return new(big.Int).Neg(half), new(big.Int).Sub(half, one)
	}
	return new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(one, uint(f.bits)), one)
}

func (f bigField) get(b []byte) *big.Int {
	n := new(big.Int)
	for i := f.from; i < f.from+f.bits; i++ {
		n.Lsh(n, 1)
		if i/8 < len(b) && bitAt(b, i) == 1 {
			n.SetBit(n, 0, 1)
		}
	}
	return f.wrap(n)
}

// wrap takes a number modulo the width.
func (f bigField) wrap(n *big.Int) *big.Int {
	width := new(big.Int).Lsh(big.NewInt(1), uint(f.bits))
	n = new(big.Int).Mod(n, width)
	if _, most := f.limits(); n.Cmp(most) > 0 {
		n.Sub(n, width)
	}
	return n
}

func (f bigField) put(b []byte, n *big.Int) {
	for i := range f.bits {
		at := f.from + f.bits - 1 - i
		mask := byte(1) << (7 - at%8)
		b[at/8] &^= mask
		if n.Bit(i) == 1 { // of two's complement, if negative
			b[at/8] |= mask
		}
	}
}

// settle is what becomes of a number that may not fit; nil: nothing.
func (f bigField) settle(n *big.Int, mode string) *big.Int {
	least, most := f.limits()
	switch {
	case n.Cmp(least) >= 0 && n.Cmp(most) <= 0:
		return n
	case mode == "fail":
		return nil
	case mode == "wrap":
		return f.wrap(n)
	case n.Cmp(most) > 0:
		return most
	}
	return least
}

func (p plainStrings) bitField(name string, args []string) string {
	fieldOf := func(args []string) bigField {
		bits, _ := strconv.Atoi(args[0][1:])
		from, _ := strconv.Atoi(args[1])
		return bigField{args[0][0] == 'i', bits, from}
	}
	b := append([]byte(nil), p[name]...)
	writes := false
	for i := 0; i < len(args); {
		switch args[i] {
		case "overflow":
			i += 2
		case "get":
			i += 3
		default:
			f := fieldOf(args[i+1:])
			b = append(b, make([]byte, max(0, (f.from+f.bits-1)/8+1-len(b)))...)
			writes = true
			i += 4
		}
	}
	reply, n, mode := "", 0, "wrap"
	for i := 0; i < len(args); {
		if args[i] == "overflow" {
			mode, i = args[i+1], i+2
			continue
		}
		f := fieldOf(args[i+1:])
		old := f.get(b)
		answer := old
		if args[i] != "get" {
			value, _ := new(big.Int).SetString(args[i+3], 10)
			if args[i] == "incrby" {
				value.Add(value, old)
			} else if !f.signed && value.Sign() < 0 {
				value.Add(value, new(big.Int).Lsh(big.NewInt(1), 64))
			}
			value = f.settle(value, mode)
			if answer = old; args[i] == "incrby" || value == nil {
				answer = value
			}
			if value != nil {
				f.put(b, value)
			}
			i++
		}
		if answer == nil {
			reply += null
		} else {
			reply += fmt.Sprintf(":%d\r\n", answer)
		}
		i += 3
		n++
	}
	if writes {
		p[name] = b
	}
	return fmt.Sprintf("*%d\r\n", n) + reply
}

func (d longDice) bitOp() []string {
	args := []string{"bitop", d.pick("and", "or", "xor", "not"), d.name(), d.name()}
	for args[1] != "not" && d.IntN(5) > 0 {
		args = append(args, d.name())
	}
	return args
}

// bitField changes a few fields, most of them next to each other. Signed ones of 61 to 63 bits are left to the comparison with Redis, which has
// its own idea of numbers far below them.
func (d longDice) bitField(name string, length int) []string {
	args := []string{"bitfield", name}
	near := d.IntN(8*length + 200)
	for range 1 + d.IntN(5) {
		if d.IntN(3) == 0 {
			args = append(args, "overflow", d.pick("wrap", "sat", "fail"))
		}
		f := bigField{bits: 1 + d.IntN(63)}
		if f.signed = d.IntN(2) == 0; f.signed {
			f.bits = []int{1 + d.IntN(60), 8, 64}[d.IntN(3)]
		}
		f.from = max(0, near+d.IntN(300)-100)
		kind := "u"
		if f.signed {
			kind = "i"
		}
		at := []string{kind + strconv.Itoa(f.bits), strconv.Itoa(f.from)}
		switch d.IntN(3) {
		case 0:
			args = append(append(args, "get"), at...)
		default:
			args = append(append(append(args, d.pick("set", "incrby")), at...), strconv.FormatInt(d.near(f), 10))
		}
	}
	return args
}

// near is a number about as large as the field can hold.
func (d longDice) near(f bigField) int64 {
	least, most := f.limits()
	n := int64(d.IntN(5) - 2)
	switch d.IntN(4) {
	case 0:
		if n += most.Int64(); n < most.Int64()-2 {
			n = math.MaxInt64
		}
	case 1:
		if n += least.Int64(); n > least.Int64()+2 {
			n = math.MinInt64
		}
	case 2:
		n *= 1 << (f.bits / 2)
	}
	return n
}
