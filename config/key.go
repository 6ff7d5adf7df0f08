package config

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Key is a row of the table.
type Key struct {
	Name    string // as CONFIG shows it: dashes for Redis' parameters, table.key for sett's own tables
	Alias   string // a second name with the same value, or ""
	Kind    Kind
	Default string   // as --set would give it
	Min     int64    // of Int, Octal, Bytes, Percent (a negative Min is the largest percentage), Duration (ns)
	Max     int64    // of the same
	Choices []string // of Enum and Flags; "yes=relative" in Redis' tables means that relative is shown as yes
	Unit    string   // of Int: what is counted; "seconds" and "milliseconds" make Value.Duration work
	Change  Change
	Meaning Meaning
	Hidden  bool   // shown by CONFIG GET only under its full name
	Agreed  bool   // it decides what commands do to data, or answer: in a cluster all nodes have the same (agreed.go)
	Effect  string // what it does; of Refused keys: why it is refused
	Rule    string // of a derived default: how it is computed, for people

	// derive computes the value behind "auto" from memory_budget.
	derive func(budget int64) int64
	// refine checks a value further and brings it into the form that CONFIG GET shows; old is the value before.
	refine func(old, text string) (string, error)
}

// Kind says what a key's values look like.
type Kind int

const (
	Bool     Kind = iota // yes, no
	Int                  // a whole number
	Octal                // file permissions
	Bytes                // a whole number with Redis' units (kb, mb, gb) or KiB, MiB, GiB, TiB
	Percent              // as Bytes, or a percentage
	Duration             // 200ms, 1s, 5m
	Enum                 // one of Choices
	Flags                // some of Choices
	Text                 // any string
	List                 // strings separated by spaces; in the file an array of strings as well
)

// Meaning says what a key does in this version.
type Meaning int

const (
	Works      Meaning = iota // it has the effect that Effect describes
	Remembered                // a Redis parameter without a meaning here: checked as Redis does, kept, shown
	Refused                   // a Redis parameter of which only the default is accepted, since anything else would be a promise not kept
)

// Change says when a key can be set.
type Change int

const (
	Live      Change = iota // at any time
	Start                   // when the server starts; CONFIG SET accepts only the value it already has
	Immutable               // when the server starts; CONFIG SET refuses every value, as Redis does for this parameter
	Protected               // like Immutable, with Redis' text for protected parameters
)

// Group is the keys that belong together on a page, and a sentence about them.
type Group struct {
	Title string
	About string
	Table string // the TOML table its keys are in; "" is the top level
	Keys  []Key
}

// Table returns all keys, in the order in which CONFIG GET shows them.
func Table() []Group { return append(settings(), redisParameters()...) }

// TOML is the key's name in the file.
func (k *Key) TOML() string { return tomlName(k.Name) }

func tomlName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Allowed describes the values a key takes, for people.
func (k *Key) Allowed() string {
	s := k.allowed()
	if k.derive != nil {
		s += `, or "auto"`
	}
	return s
}

func (k *Key) allowed() string {
	switch k.Kind {
	case Bool:
		return "yes or no"
	case Int:
		if k.Max == math.MaxInt64 {
			return fmt.Sprintf("a whole number from %d", k.Min)
		}
		return fmt.Sprintf("a whole number from %d to %d", k.Min, k.Max)
	case Octal:
		return fmt.Sprintf(`permissions from "%o" to "%o"`, k.Min, k.Max)
	case Bytes:
		if k.Max == math.MaxInt64 {
			return "at least " + formatBytes(k.Min)
		}
		return fmt.Sprintf("%s to %s", formatBytes(k.Min), formatBytes(k.Max))
	case Percent:
		return fmt.Sprintf(`a size, or "0%%" to "%d%%"`, -k.Min)
	case Duration:
		return fmt.Sprintf("%s to %s", formatDuration(time.Duration(k.Min)), formatDuration(time.Duration(k.Max)))
	case Enum:
		return strings.Join(k.choices(), ", ")
	case Flags:
		return "some of " + strings.Join(k.choices(), ", ")
	case List:
		return "strings, or one string with spaces between them"
	default:
		return "a string"
	}
}

// choices lists the names of an Enum's or Flags' values.
func (k *Key) choices() []string {
	names := make([]string, len(k.Choices))
	for i, c := range k.Choices {
		names[i] = c[strings.IndexByte(c, '=')+1:]
	}
	return names
}
