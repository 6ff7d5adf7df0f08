package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Value is a parsed value of a key.
type Value struct {
	text string // as CONFIG GET shows it
	num  int64  // of numbers; bytes, nanoseconds, 0 or 1; a negative Percent is a percentage
	auto bool   // derived: num was computed
	unit time.Duration
}

// String is the value as CONFIG GET shows it.
func (v Value) String() string { return v.text }

// Bool is the value of a yes/no key.
func (v Value) Bool() bool { return v.num != 0 }

// Int is the value of a number.
func (v Value) Int() int { return int(v.num) }

// Bytes is the value of a size.
func (v Value) Bytes() int64 { return v.num }

// Duration is the value of a duration, or of a number of seconds.
func (v Value) Duration() time.Duration { return time.Duration(v.num) * v.unit }

// Strings is the value of a list.
func (v Value) Strings() []string { return strings.Fields(v.text) }

// parse reads a value as CONFIG SET takes it; old is the value before. Its errors are the texts of Redis.
func (k *Key) parse(old, s string, budget int64) (Value, error) {
	if k.derive != nil && strings.EqualFold(s, "auto") {
		n := k.derive(budget)
		return Value{text: strconv.FormatInt(n, 10), num: n, auto: true, unit: 1}, nil
	}
	v, err := k.parseKind(s)
	if err != nil {
		return Value{}, err
	}
	if k.refine != nil {
		if v.text, err = k.refine(old, v.text); err != nil {
			return Value{}, err
		}
		if k.Kind == Int { // a refined number has moved
			v.num, _ = parseInt(v.text)
		}
	}
	return v, nil
}

func (k *Key) parseKind(s string) (Value, error) {
	switch k.Kind {
	case Bool:
		switch strings.ToLower(s) {
		case "yes":
			return Value{text: "yes", num: 1}, nil
		case "no":
			return Value{text: "no"}, nil
		}
		return Value{}, errors.New("argument must be 'yes' or 'no'")
	case Int:
		n, ok := parseInt(s)
		if !ok {
			return Value{}, errors.New("argument couldn't be parsed into an integer")
		}
		return Value{text: s, num: n, unit: k.countUnit()}, k.inRange(n)
	case Octal:
		n, err := strconv.ParseInt(s, 8, 64)
		if err != nil {
			return Value{}, errors.New("argument couldn't be parsed as an octal number")
		}
		return Value{text: strconv.FormatInt(n, 8), num: n}, k.inRange(n)
	case Bytes, Percent:
		return k.parseBytes(s)
	case Duration:
		d, err := time.ParseDuration(s)
		if err != nil {
			return Value{}, errors.New("argument must be a duration such as 200ms, 1s or 5m")
		}
		return Value{text: formatDuration(d), num: int64(d), unit: 1}, k.inRange(int64(d))
	case Enum, Flags:
		return k.parseChoice(s)
	default:
		return Value{text: s}, nil
	}
}

func (k *Key) countUnit() time.Duration {
	switch k.Unit {
	case "seconds":
		return time.Second
	case "milliseconds":
		return time.Millisecond
	}
	return 0
}

func (k *Key) inRange(n int64) error {
	if n >= k.Min && n <= k.Max {
		return nil
	}
	switch k.Kind {
	case Octal:
		return fmt.Errorf("argument must be between %o and %o inclusive", k.Min, k.Max)
	case Duration:
		return fmt.Errorf("argument must be between %s and %s inclusive", formatDuration(time.Duration(k.Min)), formatDuration(time.Duration(k.Max)))
	default:
		return fmt.Errorf("argument must be between %d and %d inclusive", k.Min, k.Max)
	}
}

func (k *Key) parseBytes(s string) (Value, error) {
	if n, ok := parseBytes(s); ok {
		least := k.Min
		if k.Kind == Percent {
			least = 0
		}
		if n < least || n > k.Max {
			return Value{}, fmt.Errorf("argument must be between %d and %d inclusive", least, k.Max)
		}
		return Value{text: strconv.FormatInt(n, 10), num: n}, nil
	}
	if k.Kind != Percent {
		return Value{}, errors.New("argument must be a memory value")
	}
	n, ok := parseInt(strings.TrimSuffix(s, "%"))
	if !ok || n < 0 || !strings.HasSuffix(s, "%") {
		return Value{}, errors.New("argument must be a memory or percent value")
	}
	if -n < k.Min {
		return Value{}, fmt.Errorf("percentage argument must be less or equal to %d", -k.Min)
	}
	if n == 0 {
		return Value{text: "0"}, nil
	}
	return Value{text: s, num: -n}, nil
}

// parseChoice reads one (Enum) or several (Flags) of the key's choices. The first choice of Flags stands for none of them.
func (k *Key) parseChoice(s string) (Value, error) {
	words := []string{s}
	if k.Kind == Flags {
		words = strings.Split(s, " ")
	}
	var set int64
	for _, w := range words {
		found := false
		for i, c := range k.Choices {
			shown, name, synonym := strings.Cut(c, "=")
			if !synonym {
				name = shown
			}
			if !strings.EqualFold(name, w) {
				continue
			}
			if k.Kind == Enum {
				return Value{text: shown, num: int64(i)}, nil
			}
			set |= 1 << i
			found = true
			break
		}
		if !found {
			return Value{}, fmt.Errorf("argument(s) must be one of the following: %s", strings.Join(k.choices(), ", "))
		}
	}
	set &^= 1
	if set == 0 {
		return Value{text: k.Choices[0]}, nil
	}
	var shown []string
	for i, c := range k.Choices {
		if set&(1<<i) != 0 {
			shown = append(shown, c)
		}
	}
	return Value{text: strings.Join(shown, " "), num: set}, nil
}

// parseInt takes what Redis' string2ll takes: one spelling per number.
func parseInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}

var byteUnits = []struct {
	name string
	size int64
}{
	{"", 1}, {"b", 1}, {"k", 1000}, {"kb", 1 << 10}, {"m", 1000 * 1000}, {"mb", 1 << 20}, {"g", 1000 * 1000 * 1000}, {"gb", 1 << 30},
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
}

// parseBytes takes what Redis' memtoull takes (no digits at all count as 0), and the binary units by their own names. What
// does not fit an int64 becomes -1, which is in no range.
func parseBytes(s string) (int64, bool) {
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	unit := strings.ToLower(s[digits:])
	for _, u := range byteUnits {
		if u.name != unit {
			continue
		}
		if digits == 0 {
			return 0, true
		}
		n, err := strconv.ParseInt(s[:digits], 10, 64)
		if err != nil || n > math.MaxInt64/u.size {
			return -1, true
		}
		return n * u.size, true
	}
	return 0, false
}

// formatBytes writes a size with the largest binary unit that divides it.
func formatBytes(n int64) string {
	for i := len(byteUnits) - 1; n > 0 && i >= len(byteUnits)-4; i-- {
		if u := byteUnits[i]; n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + strings.ToUpper(u.name[:1]) + "iB"
		}
	}
	return strconv.FormatInt(n, 10)
}

// formatDuration is Duration.String without its zeros: 5m, not 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
