package types

import (
	"encoding/binary"
	"slices"

	"sett/storage"
)

// Settings on which the nodes of a cluster agree lie in the system record !settings: format(1), then for each, in the order of names,
//
//	length(uvarint) name · length(uvarint) value
//
// It has those that somebody has set while the cluster ran. A node that is alone has no such record.
var settingsKey = []byte("!settings")

const settingsFormat = 1

// SettingsKey is the key of that record.
func SettingsKey() []byte { return settingsKey }

// DecodeSettings returns names and values in turn; none of a record that is not there.
func DecodeSettings(record []byte) (pairs []string, err error) {
	if len(record) == 0 {
		return nil, nil
	}
	malformed := &storage.CorruptError{Key: settingsKey, Reason: "settings of an unknown form"}
	if record[0] != settingsFormat {
		return nil, malformed
	}
	for record = record[1:]; len(record) > 0; {
		n, head := binary.Uvarint(record)
		if head <= 0 || n > uint64(len(record)-head) {
			return nil, malformed
		}
		pairs = append(pairs, string(record[head:head+int(n)]))
		record = record[head+int(n):]
	}
	if len(pairs)%2 != 0 {
		return nil, malformed
	}
	return pairs, nil
}

// PutSettings puts settings into the record, names and values in turn; the others in it stay. What is so already is not written again.
func PutSettings(t *storage.Txn, pairs []string) error {
	old, err := t.Get(settingsKey)
	if err != nil {
		return err
	}
	all, err := DecodeSettings(old)
	if err != nil {
		return err
	}
	values := make(map[string]string)
	for _, list := range [][]string{all, pairs} {
		for i := 0; i < len(list); i += 2 {
			values[list[i]] = list[i+1]
		}
	}
	if record := encodeSettings(values); string(record) != string(old) {
		t.Put(settingsKey, record)
	}
	return nil
}

func encodeSettings(values map[string]string) []byte {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	record := []byte{settingsFormat}
	for _, name := range names {
		for _, text := range []string{name, values[name]} {
			record = append(binary.AppendUvarint(record, uint64(len(text))), text...)
		}
	}
	return record
}
