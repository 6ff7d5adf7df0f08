package wal

import (
	"fmt"
	"slices"
)

// DamageError says that something is wrong in the log that no power cut can have done. The log was not touched.
type DamageError struct {
	Segment uint64 // 0 = none in particular
	Offset  int64
	Index   uint64 // of the entry that should be there; 0 = unknown
	Reason  string
}

func (e *DamageError) Error() string {
	at := ""
	if e.Segment != 0 {
		at = fmt.Sprintf("%s at offset %d, ", segmentName(e.Segment), e.Offset)
	}
	if e.Index != 0 {
		at += fmt.Sprintf("entry %d: ", e.Index)
	}
	return fmt.Sprintf("the log is damaged: %s%s; nothing was changed; run `sett check`", at, e.Reason)
}

// VersionError says that a newer sett wrote the log.
type VersionError struct {
	Segment uint64
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the log's %s has format %d; this version of sett knows formats up to %d", segmentName(e.Segment), e.Version, formatVersion)
}

// Known is what the rest of the store knows about its log.
type Known struct {
	Durable  uint64 // entries up to it are durable in Badger: the log was fsynced that far, and whole segments up to it may be gone
	CleanEnd uint64 // the last entry at a clean stop; 0 = it was none

	// Installed says that the store has all up to this entry from elsewhere. A log that ends before it is whole, and its owner resets it; one that
	// begins behind it has no gap.
	Installed uint64
}

const maxSpots = 100

// survey is what reading a whole log has found. Reading changes nothing.
type survey struct {
	o     Options
	segs  []*segment
	runs  []run
	total int64 // bytes of the segment files

	// The log as far as it is whole: up to active's offset end.
	next       uint64 // index of the next entry
	nextNumber uint64 // 0 as long as no record was met
	active     int
	end        int64

	mark  uint64  // highest mark of any record
	stop  *spot   // the first place where the log is not whole
	spots []spot  // it and those behind it, up to maxSpots
	lost  int     // record headers behind stop
	wipe  []int64 // per segment: where the last record header behind stop ends; 0 = none

	damage []*DamageError // what cannot come from a power cut, whatever the marks say
}

// spot is a place where the next record should be, but is not.
type spot struct {
	segment uint64
	offset  int64
	reason  string
}

// read looks at all of the log. An error is one of reading, or a VersionError.
func (o Options) read() (*survey, error) {
	sv := &survey{o: o, next: 1, end: headerBytes}
	ids, err := o.list()
	if err != nil {
		return sv, err
	}
	for i, id := range ids {
		if i > 0 && id != ids[i-1]+1 {
			sv.damaged(ids[i-1]+1, 0, "the segment is missing")
		}
		if err := sv.open(id); err != nil {
			return sv, err
		}
	}
	sv.wipe = make([]int64, len(sv.segs))
	for i := range sv.segs {
		if err := sv.walk(i); err != nil {
			return sv, fmt.Errorf("%s: %w", o.path(sv.segs[i].id), err)
		}
	}
	return sv, nil
}

// list returns the ids of the segments, in order.
func (o Options) list() ([]uint64, error) {
	if there, err := o.FS.Exists(o.Dir); err != nil || !there {
		return nil, err
	}
	names, err := o.FS.ReadDir(o.Dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, name := range names {
		if id, ok := parseName(name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// open adds a segment. One without a usable header is left out: it is damage by itself, because a segment gets its name after its header.
func (sv *survey) open(id uint64) error {
	f, err := sv.o.FS.Open(sv.o.path(id))
	if err != nil {
		return err
	}
	s := &segment{file: f}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return err
	}
	sv.total += size
	page := make([]byte, headerBytes)
	if size < headerBytes {
		sv.damaged(id, size, "the segment is shorter than its header")
		return f.Close()
	}
	if _, err := f.ReadAt(page, 0); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", sv.o.path(id), err)
	}
	h, reason := parseHeader(page, sv.o.Seed)
	switch {
	case reason != "":
	case h.version > formatVersion:
		f.Close()
		return &VersionError{id, h.version}
	case h.id != id:
		reason = fmt.Sprintf("the segment's header is that of %s", segmentName(h.id))
	case h.size > size:
		reason = fmt.Sprintf("the segment has %d bytes; it was made with %d", size, h.size)
	}
	if reason != "" {
		sv.damaged(id, 0, reason)
		return f.Close()
	}
	s.header, s.secret = h, h.secret(sv.o.Seed)
	s.size = size
	sv.segs = append(sv.segs, s)
	return nil
}

func (sv *survey) damaged(id uint64, offset int64, reason string) {
	sv.damage = append(sv.damage, &DamageError{Segment: id, Offset: offset, Reason: reason})
}

// walk reads segment i to its end, also past bad records.
func (sv *survey) walk(i int) error {
	s := sv.segs[i]
	w := &window{file: s.file, size: s.size}
	offset := int64(headerBytes)
	for {
		r, ok, err := w.record(s.secret, offset)
		if err != nil {
			return err
		}
		if !ok {
			at := offset
			if offset, err = w.find(s.secret, offset+8); err != nil {
				return err
			}
			if offset == s.size {
				return nil
			}
			sv.broken(i, at, fmt.Sprintf("there is no record, but there is one behind it, at %d", offset))
			continue
		}
		sum, err := w.sum(s.secret.data, offset+recordBytes, r.length)
		if err != nil {
			return err
		}
		offset = sv.meet(i, offset, r, sum == r.dataSum)
	}
}

// meet takes in the record at offset and returns where to read on.
func (sv *survey) meet(i int, offset int64, r record, whole bool) int64 {
	s := sv.segs[i]
	sv.mark = max(sv.mark, r.mark)
	if s.first == 0 {
		s.first = r.number
	}
	switch {
	case !whole:
		sv.broken(i, offset, fmt.Sprintf("the data of record %d fails its checksum", r.number))
	case sv.stop == nil && sv.nextNumber == 0 && (i > 0 || offset != headerBytes):
		sv.broken(0, headerBytes, "there is no record, but there are some behind it")
	case sv.stop == nil && sv.nextNumber != 0 && r.number != sv.nextNumber:
		sv.broken(i, offset, fmt.Sprintf("record %d follows record %d", r.number, sv.nextNumber-1))
	}
	if sv.stop != nil {
		sv.lost++
		sv.wipe[i] = offset + recordBytes
		if !whole {
			return offset + 8
		}
		return offset + r.space()
	}
	if reason := sv.accept(s, offset, r); reason != "" {
		// A program error and nothing else makes a whole record in its place say something impossible; no guess is right then.
		sv.damaged(s.id, offset, reason)
	}
	sv.nextNumber = r.number + 1
	sv.active, sv.end = i, offset+r.space()
	return sv.end
}

func (sv *survey) accept(s *segment, offset int64, r record) (reason string) {
	begin := sv.nextNumber == 0
	switch {
	case r.kind.isEntry() && (begin || r.index == sv.next):
		sv.runs = note(sv.runs, s, offset, r.index)
		sv.next = r.index + 1
	case r.kind == kindTrim && (begin || r.index <= sv.next):
		sv.runs = cut(sv.runs, r.index)
		sv.next = r.index
	case r.kind == kindReset:
		sv.runs, sv.next = nil, r.index
	default:
		return fmt.Sprintf("the record is for entry %d, but entry %d comes next", r.index, sv.next)
	}
	return ""
}

// broken notes that the log is not whole here. Only the first such place matters for what is kept.
func (sv *survey) broken(i int, offset int64, reason string) {
	at := spot{sv.segs[i].id, offset, reason}
	if len(sv.spots) < maxSpots {
		sv.spots = append(sv.spots, at)
	}
	if sv.stop == nil {
		sv.stop = &at
	}
}

// judge tells damage from what a power cut leaves, and from the end.
func (sv *survey) judge(known Known) *DamageError {
	if len(sv.damage) > 0 {
		return sv.damage[0]
	}
	if len(sv.segs) == 0 {
		switch {
		case known.CleanEnd > known.Durable:
			return &DamageError{Index: known.CleanEnd, Reason: fmt.Sprintf("the log is gone; it ended cleanly with entry %d", known.CleanEnd)}
		case known.Durable > 0 && !sv.o.Begin:
			return &DamageError{Index: known.Durable + 1, Reason: fmt.Sprintf("the log is gone; the store's tables have all up to entry %d from it", known.Durable)}
		}
		return nil
	}
	if sv.nextNumber == 0 {
		return sv.judgeEmpty(known)
	}
	if at := sv.where(); sv.stop != nil || sv.next <= max(known.Durable, known.CleanEnd) {
		at.Index = sv.next
		switch {
		case sv.nextNumber <= sv.mark && !planted("log-cut-below-mark"):
			at.Reason += fmt.Sprintf("; the log was fsynced up to record %d, this is record %d", sv.mark, sv.nextNumber)
			return at
		case sv.next <= known.CleanEnd:
			at.Reason += fmt.Sprintf("; the log ended cleanly with entry %d", known.CleanEnd)
			return at
		case sv.next <= known.Durable && sv.next > known.Installed:
			at.Reason += fmt.Sprintf("; the store's tables have all up to entry %d from it", known.Durable)
			return at
		}
	}
	if first := sv.first(); first > max(known.Durable, known.Installed)+1 {
		return &DamageError{Segment: sv.segs[0].id, Index: known.Durable + 1,
			Reason: fmt.Sprintf("the log begins with entry %d; the store's tables have all up to entry %d", first, known.Durable)}
	}
	return nil
}

// judgeEmpty judges a log whose first record is missing. That is right only if nothing was ever fsynced in it: TrimPrefix always leaves a record
// that was.
func (sv *survey) judgeEmpty(known Known) *DamageError {
	s, at := sv.segs[0], sv.where()
	at.Index = known.Durable + 1
	switch {
	case sv.mark > 0:
		at.Reason += fmt.Sprintf("; the log was fsynced up to record %d", sv.mark)
	case s.id > 1:
		at.Reason += "; earlier segments were trimmed, so there must be a record"
	case known.CleanEnd > known.Durable:
		at.Reason += fmt.Sprintf("; the log ended cleanly with entry %d", known.CleanEnd)
	case s.base != known.Durable+1 && (known.Installed == 0 || s.base > known.Installed+1):
		at.Reason += fmt.Sprintf("; the log was begun for entry %d, and the store's tables have all up to entry %d", s.base, known.Durable)
	default:
		return nil
	}
	return at
}

// where is the place where the log stops being whole.
func (sv *survey) where() *DamageError {
	if sv.stop != nil {
		return &DamageError{Segment: sv.stop.segment, Offset: sv.stop.offset, Reason: sv.stop.reason}
	}
	return &DamageError{Segment: sv.segs[sv.active].id, Offset: sv.end, Reason: "the log ends here"}
}

// first is the index of the first entry, or of the next if there is none.
func (sv *survey) first() uint64 {
	if len(sv.runs) > 0 {
		return sv.runs[0].first
	}
	return sv.next
}

func (sv *survey) close() {
	for _, s := range sv.segs {
		s.file.Close()
	}
}

// Finding is something that Check has to say about the log.
type Finding struct {
	Segment uint64
	Offset  int64
	Index   uint64 // 0 = unknown
	Reason  string
	Damage  bool // Open would refuse the log; otherwise Open cuts it here, as after any power cut
}

// File is the name of the segment's file.
func (f Finding) File() string { return segmentName(f.Segment) }

// Check reads the whole log without changing anything. Nobody may have it open.
func Check(o Options, known Known) ([]Finding, error) {
	o = o.withDefaults()
	sv, err := o.read()
	defer sv.close()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, d := range sv.damage {
		found = append(found, Finding{d.Segment, d.Offset, d.Index, d.Reason, true})
	}
	verdict := sv.judge(known)
	if verdict != nil && len(sv.damage) == 0 {
		found = append(found, Finding{verdict.Segment, verdict.Offset, verdict.Index, verdict.Reason, true})
	}
	for i, at := range sv.spots {
		if i > 0 || verdict == nil || len(sv.damage) > 0 {
			found = append(found, Finding{Segment: at.segment, Offset: at.offset, Reason: at.reason})
		}
	}
	return found, nil
}
