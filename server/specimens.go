package server

import "sett/commands"

const errSpecimen = commands.Error("ERR Wrong protocol type name. Please use one of the following: " +
	"string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false")

// specimen is DEBUG PROTOCOL: a reply of each type, for tests of clients.
func specimen(_ *session, b *buffers, args [][]byte) error {
	w := &b.out
	count := func() {
		for i := range int64(3) {
			w.Int(i)
		}
	}
	switch name := args[0]; {
	case is(name, "string"):
		w.BulkString("Hello World")
	case is(name, "integer"):
		w.Int(12345)
	case is(name, "double"):
		w.Double(3.141)
	case is(name, "bignum"):
		w.BigNumber("1234567999999999999999999999999999999")
	case is(name, "null"):
		w.Null()
	case is(name, "array"):
		w.Array(3)
		count()
	case is(name, "set"):
		w.Set(3)
		count()
	case is(name, "map"):
		w.Map(3)
		for i := range int64(3) {
			w.Int(i)
			w.Bool(i == 1)
		}
	case is(name, "attrib"):
		if w.Proto == 3 {
			w.Attribute(1)
			w.BulkString("key-popularity")
			w.Array(2)
			w.BulkString("key:123")
			w.Int(90)
		}
		w.BulkString("Some real reply following the attribute")
	case is(name, "push"):
		if w.Proto != 3 {
			return commands.Error("ERR RESP2 is not supported by this command")
		}
		w.Push(2)
		w.BulkString("server-cpu-usage")
		w.Int(42)
		w.BulkString("Some real reply following the push reply")
	case is(name, "true"):
		w.Bool(true)
	case is(name, "false"):
		w.Bool(false)
	case is(name, "verbatim"):
		w.Verbatim("txt", []byte("This is a verbatim\nstring"))
	default:
		return errSpecimen
	}
	return nil
}
