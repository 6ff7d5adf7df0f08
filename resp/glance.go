package resp

// Glance is Check and Parse, in one, for a command as they come every day: an array of up to 99 arguments of less than 10,000 bytes each, within
// any limit that a client who has authenticated may have. It tells how long the command is, 0 if it takes a closer look or has not arrived whole.
// The arguments are in the memory of args, as those of Parse.
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
		args = append(args, buf[end:end+size:end+size])
	}
	return args, pos
}
