package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Config is the settings of a running server.
type Config struct {
	keys   []*Key            // in table order; does not change
	byName map[string]*Key   // by CONFIG name in lower case, aliases included; does not change
	byFile map[string]*Key   // by name in the file, aliases included; does not change
	tables map[string]string // of the file, to their titles; does not change
	file   string            // absolute, or ""; does not change

	given map[*Key]Value  // what was loaded; does not change
	where map[*Key]string // what was not left to its default: the place where it was given; does not change

	setting sync.Mutex // one Set or Rewrite at a time; hooks run under it, and without mu

	mu     sync.RWMutex
	values map[*Key]Value             // guarded by mu
	hooks  map[*Key]func(Value) error // guarded by mu
	heard  map[*Key]func(Value)       // … of those that were registered with OnAgreed; guarded by mu
	groups map[*Key]*group            // guarded by mu
	asked  sync.Map                   // *Key: Value was called for it
}

// Load returns the built-in defaults, changed by the file ("" for none) and then by sets, each of the form key=value. Its
// error has a line for everything that is wrong.
func Load(file string, sets []string) (*Config, error) {
	c := newConfig()
	from := map[*Key]string{} // where a value was given
	var problems []error
	if file != "" {
		if abs, err := filepath.Abs(file); err == nil {
			c.file = abs
		}
		problems = append(problems, c.loadFile(file, from)...)
	}
	for _, s := range sets {
		name, text, ok := strings.Cut(s, "=")
		name = strings.TrimSpace(name)
		where := "--set " + name
		if !ok {
			problems = append(problems, fmt.Errorf("--set %s: it takes key=value", s))
			continue
		}
		k := c.byFile[tomlName(strings.ToLower(name))]
		if k == nil {
			problems = append(problems, fmt.Errorf("%s: there is no such setting%s", where, c.suggest(name)))
			continue
		}
		if err := c.give(k, text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
			continue
		}
		from[k] = where
	}
	if len(problems) == 0 {
		problems = c.settle(from)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	c.given, c.where = maps.Clone(c.values), from
	return c, nil
}

// newConfig returns the built-in defaults.
func newConfig() *Config {
	c := &Config{byName: map[string]*Key{}, byFile: map[string]*Key{}, tables: map[string]string{},
		values: map[*Key]Value{}, hooks: map[*Key]func(Value) error{}, heard: map[*Key]func(Value){}, groups: map[*Key]*group{}}
	for _, g := range Table() {
		if g.Table != "" {
			c.tables[g.Table] = g.Title
		}
		for i := range g.Keys {
			k := &g.Keys[i]
			c.keys = append(c.keys, k)
			for _, name := range k.names() {
				c.byName[name] = k
				c.byFile[tomlName(name)] = k
			}
		}
	}
	for _, k := range c.keys {
		v, err := k.parse(k.Default, k.Default, 0)
		if err != nil {
			panic("config: default of " + k.Name + ": " + err.Error())
		}
		c.values[k] = v
	}
	c.derive()
	return c
}

// names is the key's CONFIG name, and its alias.
func (k *Key) names() []string {
	if k.Alias == "" {
		return []string{k.Name}
	}
	return []string{k.Name, k.Alias}
}

// give sets a value while the configuration is loaded. Its error says what the key takes.
func (c *Config) give(k *Key, text string) error {
	v, err := k.parse(c.values[k].text, text, 0)
	switch _, kindErr := k.parseKind(text); {
	case err != nil && kindErr != nil:
		return fmt.Errorf("%q is not possible; it takes %s", text, k.Allowed())
	case err != nil:
		return fmt.Errorf("%q is not possible: %w", text, err)
	case k.Meaning == Refused && v.text != k.Default:
		return errors.New(k.Effect)
	}
	c.values[k] = v
	return nil
}

// derive computes the values behind "auto".
func (c *Config) derive() {
	budget := c.values[c.byName["memory_budget"]].num
	for k, v := range c.values {
		if v.auto {
			c.values[k], _ = k.parse("", "auto", budget)
		}
	}
}

// settle derives, and checks what concerns several keys.
func (c *Config) settle(from map[*Key]string) (problems []error) {
	c.derive()
	share := c.values[c.byName["memory_budget"]].num / 8
	for _, name := range []string{"storage.batch_max_bytes", "storage.generation_bytes"} {
		if k := c.byName[name]; c.values[k].num > share {
			problems = append(problems, fmt.Errorf("%s: %s is more than memory_budget / 8, which is %s", from[k], name, formatBytes(share)))
		}
	}
	return problems
}

// SourceFile is the absolute path of the file that was loaded, or "".
func (c *Config) SourceFile() string { return c.file }

// Value returns the value of the key with this name in the file. A name that is not in the table is a mistake of the
// program, and panics.
func (c *Config) Value(name string) Value {
	k := c.key(name)
	c.asked.Store(k, true)
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.values[k]
}

func (c *Config) key(name string) *Key {
	k := c.byFile[name]
	if k == nil {
		panic("config: no key " + name)
	}
	return k
}

func (c *Config) Bool(name string) bool              { return c.Value(name).Bool() }
func (c *Config) Int(name string) int                { return c.Value(name).Int() }
func (c *Config) Bytes(name string) int64            { return c.Value(name).Bytes() }
func (c *Config) Duration(name string) time.Duration { return c.Value(name).Duration() }
func (c *Config) String(name string) string          { return c.Value(name).String() }
func (c *Config) Strings(name string) []string       { return c.Value(name).Strings() }

// IsDefault tells whether a key has the value that it has when nobody sets it.
func (c *Config) IsDefault(name string) bool { return c.Value(name).text == c.key(name).Default }

// OnChange has apply called with a new value before CONFIG SET stores it. Its error refuses the change and is what the
// client reads. A live key that works can only be set once somebody has registered for it. When several keys are set
// together and a later one is refused, apply is called again with the old value. What nodes agree on has OnAgreed instead.
func (c *Config) OnChange(name string, apply func(Value) error) {
	k := c.key(name)
	if k.Agreed {
		panic("config: nodes agree on " + name + ", which none of them can refuse")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hooks[k] = apply
}

// group is keys that have an effect together.
type group struct {
	apply func(value func(name string) Value) error
}

// OnChangeTogether is OnChange for keys that only make sense together, such as a certificate and its key: apply is called once for a
// CONFIG SET that changes some of them, and finds all values, old or new, by their names in the file.
func (c *Config) OnChangeTogether(names []string, apply func(value func(name string) Value) error) {
	g := &group{apply}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		c.groups[c.key(name)] = g
	}
}

// Unwired lists the keys that should work and cannot: nobody has asked for the value, or a live key has no OnChange. A
// program that is wired up has none, which its test can hold.
func (c *Config) Unwired() (complaints []string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, k := range c.keys {
		if k.Meaning != Works {
			continue
		}
		if _, asked := c.asked.Load(k); !asked {
			complaints = append(complaints, k.TOML()+" is never read")
		}
		if k.Change == Live && c.hooks[k] == nil && c.groups[k] == nil {
			complaints = append(complaints, k.TOML()+" is live and nobody has registered for changes")
		}
	}
	return complaints
}
