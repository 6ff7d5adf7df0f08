package resp

// Glance splits the command at the start of buf, most often, into the memory of args, and tells how long it is. n is 0 if that takes a closer look: it has
// not arrived whole, is inline, or unusually long. Check and Parse have the last word on all of them.
func Glance(buf []byte, args [][]byte) (_ [][]byte, n int) {
	if len(buf) < 4 || buf[0] != '*' || buf[1] < '1' || buf[1] > '9' {
		return args[:0], 0
	}
	count, pos := int(buf[1]-'0'), 4
	if c := buf[2]; c >= '0' && c <= '9' {
		count, pos = 10*count+int(c-'0'), 5
	}
	if buf[pos-2] != '\r' {
		return args[:0], 0
	}
	args = args[:0]
	for range count {
		if pos >= len(buf) {
			return args[:0], 0
		}
		size, end := shortBulk(buf, pos)
		if pos = end + size + 2; end == 0 || pos > len(buf) {
			return args[:0], 0
		}
		args = append(args, buf[end:end+size])
	}
	return args, pos
}
