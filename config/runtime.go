package config

import (
	"errors"
	"fmt"
	"strings"
)

// Get answers CONFIG GET: names and values in turn, in table order, no name twice. A name without * ? [ is looked up,
// and shown as it was asked for; a pattern finds everything but hidden keys.
func (c *Config) Get(patterns ...string) []string {
	asked := map[string]string{} // name in the table, to the name as asked for
	var globs []string
	for _, p := range patterns {
		if strings.ContainsAny(p, "[*?") {
			globs = append(globs, p)
		} else if name := strings.ToLower(p); asked[name] == "" {
			asked[name] = p
		}
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	var reply []string
	for _, k := range c.keys {
		for _, name := range k.names() {
			shown := asked[name]
			for i := 0; i < len(globs) && shown == "" && !k.Hidden; i++ {
				if matchName(globs[i], name) {
					shown = name
				}
			}
			if shown != "" {
				reply = append(reply, shown, c.values[k].text)
			}
		}
	}
	return reply
}

// change is one key of a CONFIG SET.
type change struct {
	key      *Key
	name     string // in the table: the key's name, or its alias
	text     string
	old, new Value
}

// Set answers CONFIG SET with names and values in turn: all of them, or none and the error that the client reads.
func (c *Config) Set(pairs []string) error {
	c.setting.Lock()
	defer c.setting.Unlock()
	changes, err := c.read(pairs)
	if err == nil {
		err = c.apply(changes)
	}
	if err == nil {
		c.store(changes)
	}
	return err
}

// read checks a CONFIG SET as far as that can be done without asking hooks.
func (c *Config) read(pairs []string) ([]change, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("ERR syntax error")
	}
	changes, err := c.changes(pairs)
	if err == nil {
		err = c.parse(changes)
	}
	return changes, err
}

func (c *Config) store(changes []change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range changes {
		c.values[ch.key] = ch.new
	}
}

// changes looks the names up and refuses what cannot be set while the server runs, before any value is looked at.
func (c *Config) changes(pairs []string) ([]change, error) {
	var changes []change
	for i := 0; i < len(pairs); i += 2 {
		name := strings.ToLower(pairs[i])
		k := c.byName[name]
		if k == nil {
			return nil, fmt.Errorf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", pairs[i])
		}
		switch k.Change {
		case Immutable:
			return nil, setError(pairs[i], errImmutable)
		case Protected:
			return nil, setError(pairs[i], errors.New("can't set protected config"))
		}
		for _, ch := range changes {
			if ch.name == name { // a key and its alias may both be given: the later one wins, as in Redis
				return nil, setError(pairs[i], errors.New("duplicate parameter"))
			}
		}
		changes = append(changes, change{key: k, name: name, text: pairs[i+1]})
	}
	return changes, nil
}

var errImmutable = errors.New("can't set immutable config")

func setError(name string, err error) error {
	return fmt.Errorf("ERR CONFIG SET failed (possibly related to argument '%s') - %w", name, err)
}

// parse fills in the old and new values.
func (c *Config) parse(changes []change) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	budget := c.values[c.byName["memory_budget"]].num
	for i := range changes {
		ch := &changes[i]
		k := ch.key
		ch.old = c.values[k]
		for _, earlier := range changes[:i] {
			if earlier.key == k {
				ch.old = earlier.new
			}
		}
		var err error
		if ch.new, err = k.parse(ch.old.text, ch.text, budget); err != nil {
			return setError(ch.name, err)
		}
		switch {
		case ch.new.text == ch.old.text: // what a tool read, it may write back
		case k.Change == Start, k.Meaning == Works && c.hooks[k] == nil && c.groups[k] == nil:
			return setError(ch.name, errImmutable)
		case k.Meaning == Refused && ch.new.text != k.Default:
			return setError(ch.name, errors.New(k.Effect))
		}
	}
	return nil
}

// apply asks the hooks, and takes back what it has told them when one refuses.
func (c *Config) apply(changes []change) error {
	told := map[*group]bool{}
	for i, ch := range changes {
		if ch.new.text == ch.old.text {
			continue
		}
		hook, group := c.hook(ch.key)
		var err error
		switch {
		case group != nil && !told[group]:
			told[group] = true
			err = group.apply(c.after(changes))
		case hook != nil:
			err = hook(ch.new)
		}
		if err != nil {
			c.takeBack(changes[:i])
			return setError(ch.name, err)
		}
	}
	return nil
}

// takeBack tells the hooks of changes that all stays as it was. The old values were good a moment ago; a hook that refuses them has nothing
// else to offer.
func (c *Config) takeBack(changes []change) {
	for j := len(changes) - 1; j >= 0; j-- {
		ch := changes[j]
		if ch.new.text == ch.old.text {
			continue
		}
		if hook, group := c.hook(ch.key); group != nil {
			_ = group.apply(c.after(nil))
		} else if hook != nil {
			_ = hook(ch.old)
		}
	}
}

// after looks values up as they are once the changes are made.
func (c *Config) after(changes []change) func(name string) Value {
	return func(name string) Value {
		k := c.key(name)
		for i := len(changes) - 1; i >= 0; i-- {
			if changes[i].key == k {
				return changes[i].new
			}
		}
		return c.Value(name)
	}
}

func (c *Config) hook(k *Key) (func(Value) error, *group) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.hooks[k], c.groups[k]
}
