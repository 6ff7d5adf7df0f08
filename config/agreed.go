package config

import (
	"fmt"
	"slices"
)

// In a cluster the leader runs everybody's commands, and who leads changes. So settings that decide what commands do to data, or answer (Key.Agreed), are
// the same on all nodes: CONFIG SET hands them to the log, and what the log brings back, each node adopts. They are in the data from then on, and
// a node that starts with another value in its file has the agreed one: the cluster was never stopped. What nobody has set by CONFIG SET is as each
// node's file says.

// SetAgreed is Set in a cluster. What nodes agree on it gives to agree, names and values in turn, checked and in their final form, and leaves it to Adopt;
// the rest becomes this node's own once agree has returned nil.
func (c *Config) SetAgreed(pairs []string, agree func(pairs []string) error) error {
	c.setting.Lock()
	defer c.setting.Unlock()
	changes, err := c.read(pairs)
	if err != nil {
		return err
	}
	var own []change
	var common []string
	for _, ch := range changes {
		if ch.key.Agreed {
			common = append(common, ch.key.Name, ch.new.text) // also one that is so already: here it may be, elsewhere or tomorrow not
		} else {
			own = append(own, ch)
		}
	}
	if err := c.apply(own); err != nil {
		return err
	}
	if len(common) > 0 {
		if err := agree(common); err != nil {
			c.takeBack(own)
			return err
		}
	}
	c.store(own)
	return nil
}

// Adopt takes over all that the nodes have agreed on up to now, names and values in turn; what is not among it is as this node's file says. Whoever has
// registered is told what that changes. One goroutine at a time calls it, and does not wait for a CONFIG SET that is under way. An error means that
// this version does not know what the others have agreed on.
func (c *Config) Adopt(agreed []string) error {
	next := make(map[*Key]Value)
	for _, k := range c.keys {
		if k.Agreed {
			next[k] = c.given[k]
		}
	}
	for i := 0; i+1 < len(agreed); i += 2 {
		k := c.byName[agreed[i]]
		if k == nil || !k.Agreed {
			return fmt.Errorf("the cluster has agreed on %s, which this version does not know as such", agreed[i])
		}
		v, err := k.parse(c.given[k].text, agreed[i+1], 0)
		if err != nil {
			return fmt.Errorf("the cluster has agreed on %s %q, which this version does not accept: %w", k.Name, agreed[i+1], err)
		}
		next[k] = v
	}
	for _, k := range c.keys {
		if v, ok := next[k]; ok {
			c.adopt(k, v)
		}
	}
	return nil
}

func (c *Config) adopt(k *Key, v Value) {
	c.mu.Lock()
	changed, hear := c.values[k].text != v.text, c.heard[k]
	c.values[k] = v
	c.mu.Unlock()
	if changed && hear != nil {
		hear(v)
	}
}

// OnAgreed is OnChange for what nodes agree on: nobody can refuse what the others have.
func (c *Config) OnAgreed(name string, apply func(Value)) {
	k := c.key(name)
	if !k.Agreed {
		panic("config: nodes do not agree on " + name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[k] = apply
	c.hooks[k] = func(v Value) error { apply(v); return nil }
}

// Overruled says where this node's file, or --set, has another value than the one that the nodes have agreed on.
func (c *Config) Overruled() (lines []string) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, k := range c.keys {
		if where, said := c.where[k]; said && k.Agreed && c.values[k].text != c.given[k].text {
			lines = append(lines, fmt.Sprintf("%s: %s, agreed: %s", where, c.given[k].text, c.values[k].text))
		}
	}
	slices.Sort(lines)
	return lines
}
