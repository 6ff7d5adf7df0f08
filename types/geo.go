package types

import "math"

// A place on earth is the score of a sorted set's member: where it lies east (odd bits) and north (even bits), 26 bits each, so that places
// whose scores begin alike lie in the same cell of a grid, and the finer the more bits are alike.
const (
	geoSteps = 26

	MinLongitude, MaxLongitude = -180.0, 180.0
	MinLatitude, MaxLatitude   = -85.05112878, 85.05112878

	earthRadiusM = 6372797.560856
	halfEquatorM = 20037726.37
)

// geoCell is a cell of the grid that divides either axis in 2^step.
type geoCell struct {
	east, north uint32
	step        uint8
}

func cellOf(longitude, latitude float64, step uint8) geoCell {
	return geoCell{axis(longitude, MinLongitude, MaxLongitude, step), axis(latitude, MinLatitude, MaxLatitude, step), step}
}

func axis(x, low, high float64, step uint8) uint32 {
	return uint32((x - low) / (high - low) * float64(uint64(1)<<step))
}

// bits interleaves where a cell lies.
func (c geoCell) bits() uint64 { return stretch(c.north) | stretch(c.east)<<1 }

// stretch puts a zero before each bit.
func stretch(n uint32) uint64 {
	x := uint64(n)
	x = (x | x<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
	x = (x | x<<2) & 0x3333333333333333
	return (x | x<<1) & 0x5555555555555555
}

// squeeze is the inverse of stretch, which sees every other bit only.
func squeeze(x uint64) uint32 {
	x &= 0x5555555555555555
	x = (x | x>>1) & 0x3333333333333333
	x = (x | x>>2) & 0x0f0f0f0f0f0f0f0f
	x = (x | x>>4) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

// edges are the borders of a cell.
func (c geoCell) edges() (west, south, east, north float64) {
	west, east = sides(c.east, c.step, MinLongitude, MaxLongitude)
	south, north = sides(c.north, c.step, MinLatitude, MaxLatitude)
	return west, south, east, north
}

// The conversions here and below keep processors that can multiply and add in one step from rounding otherwise than Redis.
func sides(n uint32, step uint8, low, high float64) (from, to float64) {
	cells := float64(uint64(1) << step)
	from = low + float64(float64(n)/cells*(high-low))
	to = low + float64((float64(n)+1)/cells*(high-low))
	return from, to
}

// neighbour is so many cells further; the grid has no end. Who stands on the eastern or northern edge of the world is outside of the grid, as in
// Redis, until he moves.
func (c geoCell) neighbour(east, north int) geoCell {
	mask := uint32(1)<<c.step - 1
	if east != 0 {
		c.east = (c.east + uint32(east)) & mask
	}
	if north != 0 {
		c.north = (c.north + uint32(north)) & mask
	}
	return c
}

// scores are those of the places in a cell: from the first up to, not with, the second.
func (c geoCell) scores() (low, high ScoreBound) {
	shift := 2 * (geoSteps - c.step)
	return ScoreBound{Score: float64(c.bits() << shift)}, ScoreBound{Score: float64((c.bits() + 1) << shift), Exclusive: true}
}

// GeoScore is the score of a place.
func GeoScore(longitude, latitude float64) float64 {
	return float64(cellOf(longitude, latitude, geoSteps).bits())
}

// GeoPlace is the middle of the cell that a score stands for.
func GeoPlace(score float64) (longitude, latitude float64) {
	bits := uint64(score)
	west, south, east, north := geoCell{squeeze(bits >> 1), squeeze(bits), geoSteps}.edges()
	longitude = min(max((west+east)/2, MinLongitude), MaxLongitude)
	latitude = min(max((south+north)/2, MinLatitude), MaxLatitude)
	return longitude, latitude
}

// GeoHash is what the rest of the world calls a place by, in eleven characters. It has room for 55 bits: the last character is always 0.
func GeoHash(score float64) string {
	const alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"
	longitude, latitude := GeoPlace(score)
	bits := geoCell{axis(longitude, -180, 180, geoSteps), axis(latitude, -90, 90, geoSteps), geoSteps}.bits()
	var name [11]byte
	for i := range name {
		name[i] = alphabet[0]
		if i < len(name)-1 {
			name[i] = alphabet[bits>>(2*geoSteps-5*(i+1))&31]
		}
	}
	return string(name[:])
}

func radians(degrees float64) float64 { return degrees * (math.Pi / 180) }

func degrees(radians float64) float64 { return radians / (math.Pi / 180) }

// GeoDistance is the distance of two places in meters, on a sphere.
func GeoDistance(longitude1, latitude1, longitude2, latitude2 float64) float64 {
	v := math.Sin((radians(longitude2) - radians(longitude1)) / 2)
	if v == 0 {
		return latitudeDistance(latitude1, latitude2)
	}
	north1, north2 := radians(latitude1), radians(latitude2)
	u := math.Sin((north2 - north1) / 2)
	a := float64(u*u) + float64(float64(math.Cos(north1)*math.Cos(north2))*v)*v
	return 2 * earthRadiusM * math.Asin(math.Sqrt(a))
}

func latitudeDistance(latitude1, latitude2 float64) float64 {
	return earthRadiusM * math.Abs(radians(latitude2)-radians(latitude1))
}

// GeoShape is a circle, or a box whose sides run along the axes, around a place.
type GeoShape struct {
	Longitude, Latitude float64
	Box                 bool
	Radius              float64 // of a circle
	Width, Height       float64 // of a box
	Unit                float64 // in meters, of all of them
}

// Distance is how far from the middle a place within the shape lies, in meters; ok is false for one outside.
func (s *GeoShape) Distance(longitude, latitude float64) (m float64, ok bool) {
	if !s.Box {
		m = GeoDistance(s.Longitude, s.Latitude, longitude, latitude)
		return m, m <= s.Radius*s.Unit
	}
	if latitudeDistance(latitude, s.Latitude) > s.Height*s.Unit/2 {
		return 0, false
	}
	if GeoDistance(longitude, latitude, s.Longitude, latitude) > s.Width*s.Unit/2 {
		return 0, false
	}
	return GeoDistance(s.Longitude, s.Latitude, longitude, latitude), true
}

// bounds are the borders of the smallest box of degrees around the shape.
func (s *GeoShape) bounds() (west, south, east, north float64) {
	width, height := s.Unit*s.Radius, s.Unit*s.Radius
	if s.Box {
		width, height = s.Unit*(s.Width/2), s.Unit*(s.Height/2)
	}
	up := degrees(height / earthRadiusM)
	nearPole := s.Latitude + up
	if s.Latitude < 0 {
		nearPole = s.Latitude - up
	}
	side := degrees(width / earthRadiusM / math.Cos(radians(nearPole)))
	return s.Longitude - side, s.Latitude - up, s.Longitude + side, s.Latitude + up
}

// steps is how fine the grid may be for the shape to fit into a cell and those around it, as a rule.
func (s *GeoShape) steps() uint8 {
	m := s.Radius
	if s.Box {
		m = math.Sqrt(float64(s.Width/2*(s.Width/2)) + float64(s.Height/2*(s.Height/2)))
	}
	m *= s.Unit
	if m == 0 {
		return geoSteps
	}
	step := -1
	for ; m < halfEquatorM; m *= 2 {
		step++
	}
	switch north := math.Abs(s.Latitude); {
	case north > 80:
		step -= 2
	case north > 66:
		step--
	}
	return uint8(min(max(step, 1), geoSteps))
}

// Cells calls f for the ranges of scores that the places within the shape have: of the cell in the middle and of those around it that the shape
// may reach into, until f returns false.
func (s *GeoShape) Cells(f func(low, high ScoreBound) bool) {
	west, south, east, north := s.bounds()
	cell := cellOf(s.Longitude, s.Latitude, s.steps())
	if cell.step > 1 && !cell.surrounds(west, south, east, north) {
		cell = cellOf(s.Longitude, s.Latitude, cell.step-1)
	}
	w, n, e, o := false, false, false, false // the shape does not reach west, north, east, south of the cell
	if cell.step >= 2 {
		cw, cs, ce, cn := cell.edges()
		w, o, e, n = cw < west, cs < south, ce > east, cn > north
	}
	var last geoCell
	told := 0 // the cells around
	for i, at := range [...]struct {
		east, north int
		left        bool
	}{{0, 0, false}, {0, 1, n}, {0, -1, o}, {1, 0, e}, {-1, 0, w}, {1, 1, n || e}, {-1, 1, n || w}, {1, -1, o || e}, {-1, -1, o || w}} {
		next := cell.neighbour(at.east, at.north)
		if at.left || told > 0 && next == last { // of a coarse grid, neighbours are one
			continue
		}
		if last = next; i > 0 {
			told++
		}
		if !f(next.scores()) {
			return
		}
	}
}

// surrounds tells whether the cells around one reach as far as that.
func (c geoCell) surrounds(west, south, east, north float64) bool {
	w, s, _, _ := c.neighbour(-1, -1).edges()
	_, _, e, n := c.neighbour(1, 1).edges()
	return n >= north && s <= south && e >= east && w <= west
}
