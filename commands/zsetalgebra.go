package commands

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"sett/storage"
	"sett/types"
)

// What several sorted sets, or sets, have in common, together, or the first alone. The members of a set have the score 1.

// zOperation is what a command does with them, and what its arguments ask for.
type zOperation struct {
	command   string
	kind      zKind
	names     [][]byte
	weights   []float64 // nil: 1
	aggregate func(sum, value float64) float64
	scores    bool  // WITHSCORES
	limit     int64 // of ZINTERCARD; 0: none
	storing   bool
	counting  bool // ZINTERCARD
}

type zKind byte

const (
	zUniting zKind = iota
	zIntersecting
	zSubtracting
)

// parseNames reads the number of keys and the keys. Redis looks at those before it looks at the options behind them.
func (o *zOperation) parseNames(args [][]byte) (options [][]byte, err error) {
	n, err := intArg(args[0])
	switch args = args[1:]; {
	case err != nil:
		return nil, err
	case n < 1:
		return nil, ErrInputKeys(o.command)
	case n > int64(len(args)):
		return nil, ErrSyntax
	}
	o.names = args[:n]
	o.aggregate = sumScores
	return args[n:], nil
}

func (o *zOperation) parseOptions(args [][]byte) (err error) {
	joins := o.kind != zSubtracting && !o.counting
	for len(args) > 0 {
		switch n := len(o.names); {
		case joins && len(args) > n && is(args[0], "weights"):
			if err := o.parseWeights(args[1 : n+1]); err != nil {
				return err
			}
			args = args[n+1:]
		case joins && len(args) > 1 && is(args[0], "aggregate"):
			if o.aggregate = aggregates(args[1]); o.aggregate == nil {
				return ErrSyntax
			}
			args = args[2:]
		case is(args[0], "withscores") && !o.storing && !o.counting:
			o.scores = true
			args = args[1:]
		case o.counting && len(args) > 1 && is(args[0], "limit"):
			if o.limit, err = intArg(args[1]); err != nil || o.limit < 0 {
				return ErrLimit
			}
			args = args[2:]
		default:
			return ErrSyntax
		}
	}
	return nil
}

func (o *zOperation) parseWeights(args [][]byte) error {
	o.weights = make([]float64, len(args))
	for i, arg := range args {
		var ok bool
		if o.weights[i], ok = parseDouble(arg); !ok {
			return ErrWeight
		}
	}
	return nil
}

func aggregates(name []byte) func(sum, value float64) float64 {
	switch {
	case is(name, "sum"):
		return sumScores
	case is(name, "min"):
		return func(sum, value float64) float64 {
			if value < sum {
				return value
			}
			return sum
		}
	case is(name, "max"):
		return func(sum, value float64) float64 {
			if value > sum {
				return value
			}
			return sum
		}
	}
	return nil
}

// sumScores adds. The infinities cancel each other out.
func sumScores(sum, value float64) float64 {
	if sum += value; math.IsNaN(sum) {
		return 0
	}
	return sum
}

// zSource is one operand.
type zSource struct {
	types.Elements
	of     types.Type
	weight float64
}

func (s *zSource) scoreOf(el *types.Element) float64 {
	if s.of == types.Set {
		return 1
	}
	return el.Score()
}

// weighted is a member's score times the weight, which is no number if one is 0 and the other infinite.
func (s *zSource) weighted(el *types.Element) float64 { return s.scoreOf(el) * s.weight }

// zSources are the operands; those of ZUNION and ZINTER in the order of their sizes, which decides about rounding.
type zSources []zSource

func (q *Query) zSources(o *zOperation, find func(s *zSource, name []byte) error) (zSources, error) {
	sources := make(zSources, len(o.names))
	for i, name := range o.names {
		sources[i].weight = 1
		if err := find(&sources[i], name); err != nil {
			return nil, err
		}
	}
	return sources, nil
}

func (s zSources) prepare(o *zOperation) {
	for i := range o.weights {
		s[i].weight = o.weights[i]
	}
	if o.kind != zSubtracting {
		slices.SortStableFunc(s, func(a, b zSource) int { return cmp.Compare(a.Len(), b.Len()) })
	}
}

func (q *Query) findSource(s *zSource, name []byte) error {
	m, err := q.lookup(name)
	if err != nil {
		return err
	}
	if s.of = m.Type; m.Exists && m.Type != types.Set && m.Type != types.ZSet {
		return ErrWrongType
	}
	return s.Open(q.data, &q.set.keys, q.key, &m, m.Type, q.Now)
}

func (q *Query) findSourceAt(v *storage.View) func(s *zSource, name []byte) error {
	return func(s *zSource, name []byte) error {
		m, err := q.metaAt(v, name)
		if err != nil {
			return err
		}
		s.of = m.Type
		return s.OpenView(v, &q.set.keys, q.key, &m, m.Type, q.Now)
	}
}

// run calls f for the members of the result, in no order.
func (s zSources) run(o *zOperation, f func(member []byte, score float64) error) error {
	if o.kind == zUniting {
		return s.union(o, f)
	}
	first := &s[0]
	if first.Len() == 0 {
		return nil
	}
	if err := s.elements().needOthers(); err != nil {
		return err
	}
	return first.Each(func(el *types.Element) error {
		member, err := first.Name(el)
		if err != nil {
			return err
		}
		score, found := first.scoreOf(el), true
		if o.kind == zSubtracting {
			found, err = s.absent(member)
		} else {
			score, found, err = s.join(o, member, first.weighted(el))
		}
		if err != nil || !found {
			return err
		}
		return f(member, score)
	})
}

// join adds up what the others have of a member of the first; found is false if one has it not.
func (s zSources) join(o *zOperation, member []byte, score float64) (sum float64, found bool, err error) {
	if math.IsNaN(score) {
		score = 0
	}
	for i := range s[1:] {
		el, found, err := s[i+1].Find(member)
		if err != nil || !found {
			return 0, false, err
		}
		score = o.aggregate(score, s[i+1].weighted(&el))
	}
	return score, true, nil
}

func (s zSources) absent(member []byte) (bool, error) {
	for i := range s[1:] {
		if _, found, err := s[i+1].Find(member); err != nil || found {
			return false, err
		}
	}
	return true, nil
}

func (s zSources) elements() combined {
	c := make(combined, len(s))
	for i := range s {
		c[i] = &s[i].Elements
	}
	return c
}

func (s zSources) union(o *zOperation, f func(member []byte, score float64) error) error {
	r := o.result()
	if err := s.collect(&r); err != nil {
		return err
	}
	for _, m := range r.members {
		if err := f(m.member, m.score); err != nil {
			return err
		}
	}
	return nil
}

// collect adds the members of all of them, source by source.
func (s zSources) collect(r *result) error {
	if err := s.elements().each((*types.Elements).NeedAll); err != nil {
		return err
	}
	for i := range s {
		err := s[i].Each(func(el *types.Element) error {
			member, err := s[i].Name(el)
			if err != nil {
				return err
			}
			score := s[i].weighted(el)
			if math.IsNaN(score) {
				score = 0
			}
			return r.add(member, score)
		})
		if err == nil {
			err = r.nextSource()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// result is where members are collected.
func (o *zOperation) result() result {
	r := result{of: types.ZSet, judged: true}
	if o.kind == zUniting {
		r.places, r.aggregate = make(map[string]int), o.aggregate
	}
	return r
}

// result is all members, in the order of a sorted set.
func (s zSources) result(o *zOperation) (members []scoredMember, err error) {
	err = s.run(o, func(member []byte, score float64) error {
		members = append(members, scoredMember{bytes.Clone(member), score})
		return nil
	})
	slices.SortFunc(members, compareScored)
	return members, err
}

func compareScored(a, b scoredMember) int {
	return cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.member, b.member))
}

func (q *Query) operate(o zOperation) error {
	options, err := o.parseNames(q.Args[1:])
	if err != nil {
		return err
	}
	s, err := q.zSources(&o, q.findSource)
	if err == nil {
		err = o.parseOptions(options)
	}
	if err != nil || !s.elements().few(q) {
		return err
	}
	q.replied = true
	return q.replyOperation(&o, s)
}

func (q *Query) operateAt(v *storage.View, o zOperation) error {
	options, _ := o.parseNames(q.Args[1:])
	s, err := q.zSources(&o, q.findSourceAt(v))
	if err != nil {
		return err
	}
	o.parseOptions(options)
	return q.replyOperation(&o, s)
}

func (q *Query) replyOperation(o *zOperation, s zSources) error {
	s.prepare(o)
	if o.counting {
		return q.replyCount(o.limit, func(count func() error) error {
			return s.run(o, func([]byte, float64) error { return count() })
		})
	}
	members, err := s.result(o)
	if err != nil {
		return err
	}
	reply := scoresReply{none: !o.scores, pairs: q.W.Proto >= 3}
	q.scoresHead(len(members), reply)
	for _, m := range members {
		q.replyScored(m.member, m.score, reply)
	}
	return nil
}

func (u *Update) storeOperation(o zOperation) error {
	o.storing = true
	options, err := o.parseNames(u.Args[2:])
	if err != nil {
		return err
	}
	sources, err := u.sources(o.names, types.Set, types.ZSet)
	if err == nil {
		err = o.parseOptions(options)
	}
	if err != nil {
		return err
	}
	st := storing{name: u.Args[1], of: types.ZSet, sources: sources, draw: o.draw}
	switch o.kind {
	case zUniting:
		st.takes(sources...)
	case zIntersecting:
		st.takes(smallestOf(sources)...)
	case zSubtracting:
		st.takes(firstOf(sources)...)
	}
	return u.store(&st)
}

// draw makes the result for storing.
func (o *zOperation) draw(from *operands, r *result) error {
	s := make(zSources, len(from.sources))
	for i := range s {
		m := &from.sources[i].Meta
		s[i].weight, s[i].of = 1, m.Type
		if err := from.open(&s[i].Elements, i, m.Type); err != nil {
			return err
		}
	}
	s.prepare(o)
	empty := o.result()
	r.judged, r.places, r.aggregate = empty.judged, empty.places, empty.aggregate
	if o.kind == zUniting {
		return s.collect(r)
	}
	return s.run(o, r.add)
}

func zUnion(q *Query) error { return q.operate(zOperation{command: "zunion"}) }

func zUnionView(q *Query, v *storage.View) error {
	return q.operateAt(v, zOperation{command: "zunion"})
}

func zUnionStore(u *Update) error { return u.storeOperation(zOperation{command: "zunionstore"}) }

func zInter(q *Query) error { return q.operate(zOperation{command: "zinter", kind: zIntersecting}) }

func zInterView(q *Query, v *storage.View) error {
	return q.operateAt(v, zOperation{command: "zinter", kind: zIntersecting})
}

func zInterStore(u *Update) error {
	return u.storeOperation(zOperation{command: "zinterstore", kind: zIntersecting})
}

func zInterCard(q *Query) error {
	return q.operate(zOperation{command: "zintercard", kind: zIntersecting, counting: true})
}

func zInterCardView(q *Query, v *storage.View) error {
	return q.operateAt(v, zOperation{command: "zintercard", kind: zIntersecting, counting: true})
}

func zDiff(q *Query) error { return q.operate(zOperation{command: "zdiff", kind: zSubtracting}) }

func zDiffView(q *Query, v *storage.View) error {
	return q.operateAt(v, zOperation{command: "zdiff", kind: zSubtracting})
}

func zDiffStore(u *Update) error {
	return u.storeOperation(zOperation{command: "zdiffstore", kind: zSubtracting})
}
