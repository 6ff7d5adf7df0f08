package commands

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"sett/storage"
	"sett/types"
)

// The commands of places on earth, which are members of sorted sets.
func geoRows() []*Row {
	return []*Row{
		{
			Name: "geoadd", Arity: -5, Flags: FlagWrite | FlagDenyOOM,
			Keys:       oneKey(KeyRW | KeyUpdate),
			Categories: CatGeo, Group: "geo", Since: "3.2.0",
			Summary:    "Add one or more geospatial items in the geospatial index represented using a sorted set",
			Complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
			Write:      geoAdd,
		},
		{
			Name: "geodist", Arity: -4, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatGeo, Group: "geo", Since: "3.2.0",
			Summary:    "Returns the distance between two members of a geospatial index",
			Complexity: "O(log(N))",
			Read:       geoDist,
		},
		{
			Name: "geohash", Arity: -2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatGeo, Group: "geo", Since: "3.2.0",
			Summary:    "Returns members of a geospatial index as standard geohash strings",
			Complexity: "O(log(N)) for each member requested, where N is the number of elements in the sorted set.",
			Read:       geoHash,
		},
		{
			Name: "geopos", Arity: -2, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatGeo, Group: "geo", Since: "3.2.0",
			Summary:    "Returns longitude and latitude of members of a geospatial index",
			Complexity: "O(N) where N is the number of members requested.",
			Read:       geoPos,
		},
		{
			Name: "georadius", Arity: -6, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRO | KeyAccess, First: 1, Last: 0, Step: 1}, keyAfter(KeyOW|KeyUpdate, "STORE", 6), keyAfter(KeyOW|KeyUpdate, "STOREDIST", 6)},
			Categories: CatGeo, Group: "geo", Since: "3.2.0",
			Summary:    "Query a sorted set representing a geospatial index to fetch members matching a given maximum distance from a point",
			Complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
			Deprecated: "6.2.0", ReplacedBy: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
			Write: geoRadius, Derives: true,
		},
		{
			Name: "georadius_ro", Arity: -6, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatGeo, Group: "geo", Since: "3.2.10",
			Summary:    "A read-only variant for GEORADIUS",
			Complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
			Deprecated: "6.2.0", ReplacedBy: "`GEOSEARCH` with the `BYRADIUS` argument",
			Read: geoRadiusRO,
			Long: geoRadiusROView,
		},
		{
			Name: "georadiusbymember", Arity: -5, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyRO | KeyAccess, First: 1, Last: 0, Step: 1}, keyAfter(KeyOW|KeyUpdate, "STORE", 5), keyAfter(KeyOW|KeyUpdate, "STOREDIST", 5)},
			Categories: CatGeo, Group: "geo", Since: "3.2.0",
			Summary:    "Query a sorted set representing a geospatial index to fetch members matching a given maximum distance from a member",
			Complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
			Deprecated: "6.2.0", ReplacedBy: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
			Write: geoRadiusByMember, Derives: true,
		},
		{
			Name: "georadiusbymember_ro", Arity: -5, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatGeo, Group: "geo", Since: "3.2.10",
			Summary:    "A read-only variant for GEORADIUSBYMEMBER",
			Complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index.",
			Deprecated: "6.2.0", ReplacedBy: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
			Read: geoRadiusByMemberRO,
			Long: geoRadiusByMemberROView,
		},
		{
			Name: "geosearch", Arity: -7, Flags: FlagReadonly,
			Keys:       oneKey(KeyRO | KeyAccess),
			Categories: CatGeo, Group: "geo", Since: "6.2.0",
			Summary:    "Query a sorted set representing a geospatial index to fetch members inside an area of a box or a circle.",
			Complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape",
			Read:       geoSearch,
			Long:       geoSearchView,
		},
		{
			Name: "geosearchstore", Arity: -8, Flags: FlagWrite | FlagDenyOOM,
			Keys:       []KeySpec{{Flags: KeyOW | KeyUpdate, First: 1, Last: 0, Step: 1}, {Flags: KeyRO | KeyAccess, First: 2, Last: 0, Step: 1}},
			Categories: CatGeo, Group: "geo", Since: "6.2.0",
			Summary:    "Query a sorted set representing a geospatial index to fetch members inside an area of a box or a circle, and store the result in another key.",
			Complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape",
			Write:      geoSearchStore, Derives: true,
		},
	}
}

func geoAdd(u *Update) error {
	var a zAddition
	args := u.Args[2:]
options:
	for ; len(args) > 0; args = args[1:] {
		switch arg := args[0]; {
		case is(arg, "nx"):
			a.nx = true
		case is(arg, "xx"):
			a.xx = true
		case is(arg, "ch"):
			a.ch = true
		default:
			break options
		}
	}
	if len(args) == 0 || len(args)%3 != 0 || a.nx && a.xx {
		return ErrSyntax
	}
	for ; len(args) > 0; args = args[3:] {
		longitude, latitude, err := parsePlace(args)
		if err != nil {
			return err
		}
		a.scores = append(a.scores, types.GeoScore(longitude, latitude))
		a.members = append(a.members, args[2])
	}
	return u.addMembers(&a)
}

// parsePlace reads longitude and latitude.
func parsePlace(args [][]byte) (longitude, latitude float64, err error) {
	longitude, one := parseDouble(args[0])
	if !one {
		return 0, 0, ErrNotFloat
	}
	latitude, other := parseDouble(args[1])
	if !other {
		return 0, 0, ErrNotFloat
	}
	if longitude < types.MinLongitude || longitude > types.MaxLongitude || latitude < types.MinLatitude || latitude > types.MaxLatitude {
		return 0, 0, ErrPlace(longitude, latitude)
	}
	return longitude, latitude, nil
}

// parseUnit reads a unit of length and returns it in meters.
func parseUnit(arg []byte) (m float64, err error) {
	switch {
	case is(arg, "m"):
		return 1, nil
	case is(arg, "km"):
		return 1000, nil
	case is(arg, "ft"):
		return 0.3048, nil
	case is(arg, "mi"):
		return 1609.34, nil
	}
	return 0, ErrGeoUnit
}

// placeOf is where a member lies.
func placeOf(e *types.Elements, member []byte) (longitude, latitude float64, found bool, err error) {
	el, found, err := e.Find(member)
	if err != nil || !found {
		return 0, 0, false, err
	}
	longitude, latitude = types.GeoPlace(el.Score())
	return longitude, latitude, true, nil
}

func geoPos(q *Query) error {
	e, err := q.elements(q.Args[1], types.ZSet)
	if err == nil {
		err = e.Need(q.Args[2:])
	}
	if err != nil {
		return err
	}
	q.W.Array(len(q.Args) - 2)
	for _, member := range q.Args[2:] {
		longitude, latitude, found, err := placeOf(e, member)
		if err != nil {
			return err
		}
		if !found {
			q.W.NullArray()
			continue
		}
		q.replyPlace(longitude, latitude)
	}
	return nil
}

func (q *Query) replyPlace(longitude, latitude float64) {
	q.W.Array(2)
	q.W.Decimal(longitude)
	q.W.Decimal(latitude)
}

func geoHash(q *Query) error {
	e, err := q.elements(q.Args[1], types.ZSet)
	if err == nil {
		err = e.Need(q.Args[2:])
	}
	if err != nil {
		return err
	}
	q.W.Array(len(q.Args) - 2)
	for _, member := range q.Args[2:] {
		el, found, err := e.Find(member)
		if err != nil {
			return err
		}
		if found {
			q.W.BulkString(types.GeoHash(el.Score()))
		} else {
			q.W.Null()
		}
	}
	return nil
}

func geoDist(q *Query) error {
	unit := 1.0
	if len(q.Args) == 5 {
		var err error
		if unit, err = parseUnit(q.Args[4]); err != nil {
			return err
		}
	} else if len(q.Args) > 5 {
		return ErrSyntax
	}
	e, err := q.elements(q.Args[1], types.ZSet)
	if err == nil {
		err = e.Need(q.Args[2:4])
	}
	if err != nil {
		return err
	}
	longitude1, latitude1, one, err := placeOf(e, q.Args[2])
	if err != nil {
		return err
	}
	longitude2, latitude2, other, err := placeOf(e, q.Args[3])
	if err != nil {
		return err
	}
	if !one || !other {
		q.W.Null()
		return nil
	}
	q.replyDistance(types.GeoDistance(longitude1, latitude1, longitude2, latitude2) / unit)
	return nil
}

// replyDistance shows a distance to a tenth of a millimeter, if the unit is the meter.
func (q *Query) replyDistance(distance float64) {
	var digits [32]byte
	q.W.Bulk(strconv.AppendFloat(digits[:0], distance, 'f', 4, 64))
}

// geoQuery is what GEORADIUS, GEOSEARCH and their like ask for.
type geoQuery struct {
	kind                       geoKind
	shape                      types.GeoShape
	withDist, withHash, withAt bool
	any                        bool   // so many that lie within it, and not the nearest ones
	count                      int64  // 0: all
	order                      int    // of distances: 1 rising, -1 falling, 0 none
	source                     int    // the argument that names the sorted set
	store                      []byte // the key to store to, nil: none
	storeDist                  bool
	fromMember, fromPlace      bool
	byRadius, byBox            bool
	command                    string // as it was written
}

type geoKind byte

const (
	aroundPlace  geoKind = 1 << iota // GEORADIUS
	aroundMember                     // GEORADIUSBYMEMBER
	geoSearches                      // GEOSEARCH and GEOSEARCHSTORE
	geoStores                        // it may store, or, of a search, it does
)

// geoOpen looks the sorted set up that is searched, and reads the arguments: Redis does it in this order.
func (q *Query) geoOpen(g *geoQuery) (z *types.Ranking, err error) {
	g.command = string(q.Args[0])
	g.source = 1
	if g.kind == geoSearches|geoStores {
		g.source, g.store = 2, q.Args[1]
	}
	if z, err = q.ranking(q.Args[g.source]); err != nil {
		return nil, err
	}
	return z, g.parse(z, q.Args[g.source+1:])
}

func (g *geoQuery) parse(z *types.Ranking, args [][]byte) (err error) {
	switch {
	case g.kind&aroundPlace != 0:
		if g.shape.Longitude, g.shape.Latitude, err = parsePlace(args); err == nil {
			err = g.parseRadius(args[2:])
		}
		args = args[4:]
	case g.kind&aroundMember != 0:
		if z.Len() > 0 {
			if err = g.center(z, args[0]); err == nil {
				err = g.parseRadius(args[1:])
			}
		}
		args = args[3:]
	}
	for err == nil && len(args) > 0 {
		var n int
		if n, err = g.parseOption(z, args); n == 0 && err == nil {
			return ErrSyntax
		}
		args = args[n:]
	}
	if err != nil {
		return err
	}
	return g.judge()
}

// center makes a member the middle of the shape.
func (g *geoQuery) center(z *types.Ranking, member []byte) (err error) {
	found := false
	g.shape.Longitude, g.shape.Latitude, found, err = placeOf(&z.Elements, member)
	if err == nil && !found {
		err = ErrGeoMember
	}
	return err
}

// parseRadius reads a radius and its unit.
func (g *geoQuery) parseRadius(args [][]byte) (err error) {
	var ok bool
	switch g.shape.Radius, ok = parseDouble(args[0]); {
	case !ok:
		return ErrGeoRadius
	case g.shape.Radius < 0:
		return ErrGeoNegativeRadius
	}
	g.shape.Unit, err = parseUnit(args[1])
	return err
}

func (g *geoQuery) parseBox(args [][]byte) (err error) {
	var ok bool
	if g.shape.Width, ok = parseDouble(args[0]); !ok {
		return ErrGeoWidth
	}
	if g.shape.Height, ok = parseDouble(args[1]); !ok {
		return ErrGeoHeight
	}
	if g.shape.Width < 0 || g.shape.Height < 0 {
		return ErrGeoNegativeBox
	}
	g.shape.Box = true
	g.shape.Unit, err = parseUnit(args[2])
	return err
}

// parseOption reads the first option of some and returns how many arguments it has; 0: it is none.
func (g *geoQuery) parseOption(z *types.Ranking, args [][]byte) (n int, err error) {
	switch arg, n := args[0], len(args); {
	case is(arg, "withdist"):
		g.withDist = true
	case is(arg, "withhash"):
		g.withHash = true
	case is(arg, "withcoord"):
		g.withAt = true
	case is(arg, "any"):
		g.any = true
	case is(arg, "asc"):
		g.order = 1
	case is(arg, "desc"):
		g.order = -1
	case is(arg, "count") && n > 1:
		if g.count, err = intArg(args[1]); err == nil && g.count <= 0 {
			err = ErrGeoCount
		}
		return 2, err
	case g.kind&geoSearches != 0:
		return g.parseSearchOption(z, args)
	case g.kind&geoStores != 0 && (is(arg, "store") || is(arg, "storedist")) && n > 1:
		g.store, g.storeDist = args[1], is(arg, "storedist")
		return 2, nil
	default:
		return 0, nil
	}
	return 1, nil
}

func (g *geoQuery) parseSearchOption(z *types.Ranking, args [][]byte) (n int, err error) {
	switch arg, n := args[0], len(args); {
	case is(arg, "frommember") && n > 1 && !g.fromPlace:
		if z.Len() > 0 {
			err = g.center(z, args[1])
		}
		g.fromMember = true
		return 2, err
	case is(arg, "fromlonlat") && n > 2 && !g.fromMember:
		g.shape.Longitude, g.shape.Latitude, err = parsePlace(args[1:])
		g.fromPlace = true
		return 3, err
	case is(arg, "byradius") && n > 2 && !g.byBox:
		g.byRadius = true
		return 3, g.parseRadius(args[1:])
	case is(arg, "bybox") && n > 3 && !g.byRadius:
		g.byBox = true
		return 4, g.parseBox(args[1:])
	case is(arg, "storedist") && g.kind&geoStores != 0:
		g.storeDist = true
		return 1, nil
	}
	return 0, nil
}

// judge refuses options that do not go together.
func (g *geoQuery) judge() error {
	searches := g.kind&geoSearches != 0
	switch {
	case g.store != nil && (g.withDist || g.withHash || g.withAt):
		if searches {
			return ErrGeoStore("GEOSEARCHSTORE")
		}
		return ErrGeoStore("STORE option in GEORADIUS")
	case searches && !g.fromMember && !g.fromPlace:
		return ErrGeoFrom(g.command)
	case searches && !g.byRadius && !g.byBox:
		return ErrGeoBy(g.command)
	case g.any && g.count == 0:
		return ErrGeoAny
	}
	if g.count != 0 && g.order == 0 && !g.any {
		g.order = 1
	}
	return nil
}

// found is a member that lies within the shape.
type geoFound struct {
	member              []byte
	score, distance     float64 // in meters
	longitude, latitude float64
}

// ranges are the ranks [i, j) that have to be looked at, in pairs.
func (g *geoQuery) ranges(z *types.Ranking) (ranges [][2]int64, members int64, err error) {
	if z.Len() == 0 {
		return nil, 0, nil
	}
	missed := false
	g.shape.Cells(func(low, high types.ScoreBound) bool {
		i, j, failed := z.ScoreRange(low, high)
		if failed == storage.ErrMiss {
			missed = true // the other cells' are asked for in the same round
		} else if failed != nil {
			err = failed
			return false
		}
		ranges = append(ranges, [2]int64{i, j})
		members += j - i
		return true
	})
	if err == nil && missed {
		err = storage.ErrMiss
	}
	return ranges, members, err
}

// search returns what lies within the shape, in the order that is asked for.
func (g *geoQuery) search(z *types.Ranking, ranges [][2]int64) (found []geoFound, err error) {
	for _, r := range ranges {
		err := z.Range(r[0], r[1], false, func(el *types.Element) error {
			if g.any && int64(len(found)) >= g.count {
				return nil
			}
			longitude, latitude := types.GeoPlace(el.Score())
			distance, within := g.shape.Distance(longitude, latitude)
			if !within {
				return nil
			}
			member, err := z.Name(el)
			found = append(found, geoFound{bytes.Clone(member), el.Score(), distance, longitude, latitude})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if g.order != 0 {
		slices.SortStableFunc(found, func(a, b geoFound) int { return g.order * cmp.Compare(a.distance, b.distance) })
	}
	if g.count > 0 && int64(len(found)) > g.count {
		found = found[:g.count]
	}
	return found, nil
}

func (q *Query) replyFound(g *geoQuery, found []geoFound) {
	parts := 1 + oneIf(g.withDist) + oneIf(g.withHash) + oneIf(g.withAt)
	q.W.Array(len(found))
	for _, f := range found {
		if parts > 1 {
			q.W.Array(parts)
		}
		q.W.Bulk(f.member)
		if g.withDist {
			q.replyDistance(f.distance / g.shape.Unit)
		}
		if g.withHash {
			q.W.Int(int64(f.score))
		}
		if g.withAt {
			q.replyPlace(f.longitude, f.latitude)
		}
	}
}

func (q *Query) geoAtOnce(g geoQuery) error {
	z, err := q.geoOpen(&g)
	if err != nil {
		return err
	}
	ranges, members, err := g.ranges(z)
	if err != nil || !q.atOnce(members) {
		return err
	}
	q.replied = true
	return q.geoReply(&g, z, ranges)
}

func (q *Query) geoReply(g *geoQuery, z *types.Ranking, ranges [][2]int64) error {
	found, err := g.search(z, ranges)
	if err == nil {
		q.replyFound(g, found)
	}
	return err
}

func (q *Query) geoAt(v *storage.View, g geoQuery) error {
	z, err := q.rankingAt(v, q.Args[1])
	if err == nil {
		err = g.parse(z, q.Args[2:])
	}
	if err != nil {
		return err
	}
	ranges, _, err := g.ranges(z)
	if err != nil {
		return err
	}
	return q.geoReply(&g, z, ranges)
}

func (u *Update) geoUpdate(g geoQuery) error {
	z, err := u.geoOpen(&g)
	if err != nil {
		return err
	}
	ranges, members, err := g.ranges(z)
	switch {
	case err != nil:
		return err
	case g.store == nil:
		return u.geoReply(&g, z, ranges)
	}
	key, err := u.metaKey(u.Args[g.source])
	if err != nil {
		return err
	}
	m, err := types.Lookup(u.data, key, u.Now)
	if err != nil {
		return err
	}
	source := types.Record{Meta: m, Key: bytes.Clone(key), Name: u.Args[g.source]}
	return u.store(&storing{
		name: g.store, of: types.ZSet, sources: []types.Record{source},
		elements: members, bytes: members * (z.Bytes() / max(1, z.Len())),
		draw: g.draw,
	})
}

// draw makes what GEOSEARCHSTORE stores.
func (g *geoQuery) draw(o *operands, r *result) error {
	var z types.Ranking
	if err := o.openRanking(&z, 0); err != nil {
		return err
	}
	ranges, _, err := g.ranges(&z)
	if err != nil {
		return err
	}
	found, err := g.search(&z, ranges)
	if err != nil {
		return err
	}
	r.judged = true
	for _, f := range found {
		score := f.score
		if g.storeDist {
			score = f.distance / g.shape.Unit
		}
		if err := r.add(f.member, score); err != nil {
			return err
		}
	}
	return nil
}

func geoRadius(u *Update) error { return u.geoUpdate(geoQuery{kind: aroundPlace | geoStores}) }

func geoRadiusByMember(u *Update) error {
	return u.geoUpdate(geoQuery{kind: aroundMember | geoStores})
}

func geoSearchStore(u *Update) error { return u.geoUpdate(geoQuery{kind: geoSearches | geoStores}) }

func geoSearch(q *Query) error { return q.geoAtOnce(geoQuery{kind: geoSearches}) }

func geoSearchView(q *Query, v *storage.View) error { return q.geoAt(v, geoQuery{kind: geoSearches}) }

func geoRadiusRO(q *Query) error { return q.geoAtOnce(geoQuery{kind: aroundPlace}) }

func geoRadiusROView(q *Query, v *storage.View) error { return q.geoAt(v, geoQuery{kind: aroundPlace}) }

func geoRadiusByMemberRO(q *Query) error { return q.geoAtOnce(geoQuery{kind: aroundMember}) }

func geoRadiusByMemberROView(q *Query, v *storage.View) error {
	return q.geoAt(v, geoQuery{kind: aroundMember})
}

// Errors of places.
const (
	ErrGeoUnit           = Error("ERR unsupported unit provided. please use M, KM, FT, MI")
	ErrGeoMember         = Error("ERR could not decode requested zset member")
	ErrGeoRadius         = Error("ERR need numeric radius")
	ErrGeoNegativeRadius = Error("ERR radius cannot be negative")
	ErrGeoWidth          = Error("ERR need numeric width")
	ErrGeoHeight         = Error("ERR need numeric height")
	ErrGeoNegativeBox    = Error("ERR height or width cannot be negative")
	ErrGeoCount          = Error("ERR COUNT must be > 0")
	ErrGeoAny            = Error("ERR the ANY argument requires COUNT argument")
)

// ErrPlace says that there is no such place, or none that can be kept.
func ErrPlace(longitude, latitude float64) Error {
	return Error("ERR invalid longitude,latitude pair " + sixDigits(longitude) + "," + sixDigits(latitude))
}

// sixDigits is C's %f.
func sixDigits(f float64) string {
	if math.IsInf(f, 0) {
		return strings.ToLower(strings.TrimPrefix(fmt.Sprint(f), "+"))
	}
	return strconv.FormatFloat(f, 'f', 6, 64)
}

// ErrGeoStore says that what is stored is not shown.
func ErrGeoStore(what string) Error {
	return Error("ERR " + what + " is not compatible with WITHDIST, WITHHASH and WITHCOORD options")
}

// ErrGeoFrom and ErrGeoBy say that a search lacks its middle or its shape.
func ErrGeoFrom(command string) Error {
	return Error("ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + command)
}

// ErrGeoBy is beside ErrGeoFrom.
func ErrGeoBy(command string) Error {
	return Error("ERR exactly one of BYRADIUS and BYBOX can be specified for " + command)
}
