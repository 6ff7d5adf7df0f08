package commands

// The commands that see a string as bits.
func bitmapRows() []*Row {
	return []*Row{
		{
			Name: "getbit", Arity: 3, Flags: FlagReadonly | FlagFast,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatBitmap, Group: "bitmap", Since: "2.2.0",
			Summary:    "Returns the bit value at offset in the string value stored at key",
			Complexity: "O(1)",
			Read:       getBit,
		},
		{
			Name: "setbit", Arity: 4, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyRW | KeyAccess | KeyUpdate),
			Categories: CatBitmap, Group: "bitmap", Since: "2.2.0",
			Summary:    "Sets or clears the bit at offset in the string value stored at key",
			Complexity: "O(1)",
			Write:      setBit,
		},
	}
}

func getBit(q *Query) error {
	offset, err := q.bitOffset(q.Args[2])
	if err != nil {
		return err
	}
	m, err := q.lookupString(q.Args[1])
	if err != nil {
		return err
	}
	at := int(offset >> 3)
	if !m.Exists || at >= m.StringLen() {
		q.W.Int(0)
		return nil
	}
	value, err := q.stringBytes(&m, at, at+1)
	if err != nil {
		return err
	}
	q.W.Int(int64(value[0] >> (7 - offset&7) & 1))
	return nil
}

func setBit(u *Update) error {
	offset, err := u.bitOffset(u.Args[2])
	if err != nil {
		return err
	}
	bit, ok := parseInt(u.Args[3])
	if !ok || bit&^1 != 0 {
		return ErrBit
	}
	r, err := u.openString(u.Args[1])
	if err != nil {
		return err
	}
	at, shift := int(offset>>3), 7-offset&7
	value, err := u.copyString(&r, at+1)
	if err != nil {
		return err
	}
	old := value[at] >> shift & 1
	if int64(old) != bit || !r.Exists || len(value) != r.StringLen() {
		value[at] = value[at]&^(1<<shift) | byte(bit)<<shift
		u.ledger.PutString(&r, value, r.ExpireAtMs)
	}
	u.W.Int(int64(old))
	return nil
}

// bitOffset reads an argument that addresses a bit.
func (q *Query) bitOffset(arg []byte) (int64, error) {
	n, ok := parseInt(arg)
	if !ok || n < 0 || n>>3 >= q.set.maxBulk.Load() {
		return 0, ErrBitOffset
	}
	return n, nil
}
