package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

// What a cluster has written on disks and wires, as the first version that had clusters wrote it: byte for byte, or written down anew. Whatever becomes of
// the code, these are read, and newer ones are refused with words that say what to do.

// checked1 is a small file of ours.
func checked1(t *testing.T, dir, name, text string) {
	t.Helper()
	sum := crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli))
	b := append([]byte(text+"\n"), hex.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))+"\n"...)
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o640); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfTheFirstClusters(t *testing.T) {
	const (
		id, cluster = "b7a1f0c2d3e4958677889900aabbccdd", "0123456789abcdef0123456789abcdef"
		node        = `{"ID":"` + id + `","Format":1,"ClusterID":"` + cluster + `","Epoch":2,"HashSeed":"00112233445566778899aabbccddeeff","Addr":"a:1",` +
			`"Founders":[{"ID":"` + id + `","Addr":"a:1"},{"ID":"x","Addr":"b:1"}]}`
		durable = `{"Format":1,"Index":41,"TimeMs":1700000000000,"Term":3,"Number":7,"Copied":45,"Files":[]}`
	)
	path := t.TempDir()
	d := openedDir(t, path)
	d.Close()
	checked1(t, path, formatFile, fmt.Sprintf(`{"Version":%d,"Level":3,"Seed":"000102030405060708090a0b0c0d0e0f"}`, clusterFormat))
	checked1(t, path, nodeFile, node)
	checked1(t, path, divergedFile, `{"Why":"it was so","Aside":"badger-0"}`)
	checked1(t, filepath.Join(path, badgerDir), durableFile, durable)
	d = openedDir(t, path)
	want := Node{ID: id, ClusterID: cluster, Epoch: 2, Addr: "a:1", Founders: []Founder{{id, "a:1"}, {"x", "b:1"}}}
	if got := d.Node(); !reflect.DeepEqual(got, want) || hexOf(d.HashSeed()) != "00112233445566778899aabbccddeeff" {
		t.Errorf("node.json: %+v, %x", got, d.HashSeed())
	}
	if why, err := d.Diverged(); why != "it was so" || err != nil {
		t.Errorf("DIVERGED: %q, %v", why, err)
	}
	at, err := d.Durable()
	copied, copiedErr := d.Copied()
	if at != 41 || copied != 45 || errors.Join(err, copiedErr) != nil {
		t.Errorf("durable: %d, %d, %v, %v", at, copied, err, copiedErr)
	}
	d.Close()

	checked1(t, filepath.Join(path, badgerDir), durableFile, strings.Replace(durable, `"Format":1`, `"Format":2`, 1))
	var refused *RefusedError
	d = openedDir(t, path)
	if _, err := d.Durable(); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "start a newer sett") {
		t.Errorf("durable of a newer version: %v", err)
	}
	d.Close()
	checked1(t, path, nodeFile, strings.Replace(node, `"Format":1`, `"Format":2`, 1))
	if _, err := OpenDir(OSFS{}, path); !errors.As(err, &refused) || !strings.Contains(refused.Reason, "newer sett") {
		t.Errorf("node.json of a newer version: %v", err)
	}
}

func hexOf(seed [16]byte) string { return hex.EncodeToString(seed[:]) }

// copy1 is a copy of a disk format, which has not changed copies since the first, with the records of a map, and the applied record of entry 9.
func copy1(format, level uint32, records [][2]string) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	sealed := func(b []byte, from int) []byte {
		return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], table))
	}
	at := binary.BigEndian.AppendUint64(nil, 9)
	at = binary.BigEndian.AppendUint64(at, 1_700_000_000_000)
	at = binary.BigEndian.AppendUint64(at, 2)
	at = binary.BigEndian.AppendUint64(at, 5)
	b := binary.BigEndian.AppendUint32([]byte("settcopy"), format)
	b = binary.BigEndian.AppendUint32(b, level)
	b = sealed(append(b, at...), 0)
	var raw []byte
	for _, r := range append([][2]string{{"!applied", string(at)}}, records...) {
		sum := crc32.Checksum([]byte(r[0]+r[1]), table)
		stored := binary.LittleEndian.AppendUint32([]byte(r[1]), sum)
		raw = binary.AppendUvarint(raw, uint64(len(r[0])))
		raw = binary.AppendUvarint(raw, uint64(len(stored)))
		raw = append(append(raw, r[0]...), stored...)
	}
	packed := s2.Encode(nil, raw)
	from := len(b)
	b = binary.BigEndian.AppendUint32(append(b, 'c'), uint32(len(records)+1))
	b = binary.BigEndian.AppendUint32(b, uint32(len(raw)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(packed)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(append(bytes.Clone(b[from:]), packed...), table))
	b = append(b, packed...)
	from = len(b)
	b = binary.BigEndian.AppendUint64(append(b, 'e'), 1)
	b = binary.BigEndian.AppendUint64(b, uint64(len(records)+1))
	b = binary.BigEndian.AppendUint64(b, uint64(len(raw)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(raw, table))
	return sealed(b, from)
}

func TestCopyOfTheFirstClusters(t *testing.T) {
	wrote := [][2]string{{"m1", "one"}, {"s2", strings.Repeat("two", 100)}, {"~d3", "\x01"}}
	s := openStore(t, t.TempDir(), small(), &memLog{})
	for level := range uint32(FeatureLevel + 1) { // an older leader's
		load(t, s, bytes.NewReader(copy1(FormatVersion, level, wrote)))
		p := s.Picture()
		got := records(t, p)
		p.Close()
		for _, r := range wrote {
			if got[r[0]] != r[1] {
				t.Errorf("%q is %q", r[0], got[r[0]])
			}
		}
		if st := s.Status(); st.Applied != 9 || st.Durable.Term != 2 || len(got) != len(wrote)+1 {
			t.Errorf("%d records at %+v", len(got), st)
		}
	}
	for what, c := range map[string]struct {
		format, level uint32
		say           string
	}{
		"an older format": {FormatVersion - 1, 3, "the same version of sett on all nodes"},
		"a newer format":  {FormatVersion + 1, 3, "the same version of sett on all nodes"},
		"a newer level":   {FormatVersion, FeatureLevel + 1, "update this node"},
	} {
		i, err := s.NewImport()
		must(t, err)
		if err := i.Load(bytes.NewReader(copy1(c.format, c.level, wrote))); err == nil || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", what, err)
		}
		i.Discard()
	}
}

// entry1 is an entry of format 1 that puts m=v.
func entry1(format, level byte, term, number uint64) []byte {
	payload := []byte("\x01\x01m\x01v")
	b := make([]byte, 40, 64)
	b[0], b[1], b[2] = format, level, 1 // the first of a speculation
	binary.LittleEndian.PutUint64(b[8:], term)
	binary.LittleEndian.PutUint64(b[16:], number)
	binary.LittleEndian.PutUint64(b[24:], 1_700_000_000_000)
	binary.LittleEndian.PutUint32(b[32:], uint32(len(payload)))
	b = append(b, payload...)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(b[36:], crc32.Update(crc32.Checksum(b[:36], table), table, payload))
	return b
}

// A node that meets an entry above its own format or level stops instead of guessing; one below is read.
func TestEntriesOfOtherVersions(t *testing.T) {
	for what, c := range map[string]struct {
		format, level byte
		read          bool
	}{
		"level 1": {1, 1, true}, "this level": {1, FeatureLevel, true}, "a newer level": {1, FeatureLevel + 1, false}, "a newer format": {2, 1, false},
	} {
		s := openStore(t, t.TempDir(), small(), &memLog{})
		index := s.Applied() + 1
		err := s.Apply(index, 9, entry1(c.format, c.level, 9, 1))
		if c.read && err != nil || !c.read && (!errors.Is(err, errNewerEntry) || s.Applied() >= index) {
			t.Errorf("%s: %v, applied %d", what, err, s.Applied())
		}
	}
}
