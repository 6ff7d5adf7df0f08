package compat

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mask takes out of a reply what may differ between two servers, or between two runs, and keeps the rest.
type mask struct {
	name string // as written: "within(95..100)"
	hide func(*reply) *reply
}

func newMask(name string) (mask, error) {
	word, arg, _ := strings.Cut(strings.TrimSuffix(name, ")"), "(")
	names := strings.Split(arg, ",")
	switch word {
	case "unordered":
		return mask{name, unordered}, nil
	case "pairs":
		return mask{name, pairs}, nil
	case "any":
		return mask{name, anything}, nil
	case "within":
		low, high, ok := strings.Cut(arg, "..")
		from, err1 := strconv.ParseInt(low, 10, 64)
		to, err2 := strconv.ParseInt(high, 10, 64)
		if !ok || err1 != nil || err2 != nil {
			break
		}
		return mask{name, func(r *reply) *reply { return within(r, from, to) }}, nil
	case "field":
		return mask{name, func(r *reply) *reply { return fields(r, names) }}, nil
	case "but":
		return mask{name, func(r *reply) *reply { return but(r, names) }}, nil
	case "has":
		return mask{name, func(r *reply) *reply { return has(r, names) }}, nil
	case "digest":
		return mask{name, digest}, nil
	case "before":
		return mask{name, func(r *reply) *reply { return before(r, arg) }}, nil
	}
	return mask{}, fmt.Errorf("no mask @%s", name)
}

// unordered sorts the innermost arrays: what KEYS answers, or the names in SCAN's reply.
func unordered(r *reply) *reply {
	sorted := r.each(unordered)
	if !slices.ContainsFunc(r.items, func(item *reply) bool { return len(item.items) > 0 }) {
		slices.SortFunc(sorted.items, func(a, b *reply) int { return strings.Compare(a.String(), b.String()) })
	}
	return sorted
}

// pairs sorts a map, or an array that is one in RESP2.
func pairs(r *reply) *reply {
	if len(r.items)%2 != 0 {
		return r
	}
	var list []string
	byName := map[string][]*reply{}
	for i := 0; i < len(r.items); i += 2 {
		name := r.items[i].String()
		list = append(list, name)
		byName[name] = append(byName[name], r.items[i:i+2]...)
	}
	slices.Sort(list)
	sorted := *r
	sorted.items = nil
	for _, name := range slices.Compact(list) {
		sorted.items = append(sorted.items, byName[name]...)
	}
	return &sorted
}

// anything keeps the types. What is absent stays absent, an error an error.
func anything(r *reply) *reply {
	if r.null() || r.kind == '-' || r.kind == closed {
		return r
	}
	if r.items == nil {
		return &reply{kind: r.kind, text: "(any)"}
	}
	return r.each(anything)
}

// each returns the reply with every item replaced.
func (r *reply) each(replace func(*reply) *reply) *reply {
	changed := *r
	changed.items = nil
	for _, item := range r.items {
		changed.items = append(changed.items, replace(item))
	}
	return &changed
}

// within hides an integer that lies in a range, in an array as well.
func within(r *reply, from, to int64) *reply {
	if len(r.items) > 0 {
		return r.each(func(item *reply) *reply { return within(item, from, to) })
	}
	if n, err := strconv.ParseInt(r.text, 10, 64); r.kind != ':' || err != nil || n < from || n > to {
		return r
	}
	return &reply{kind: ':', text: fmt.Sprintf("(%d..%d)", from, to)}
}

// fields keeps some of the fields of a text such as that of CLIENT INFO (a=b c=d) or INFO (a:b in lines), in the order that is asked for.
func fields(r *reply, names []string) *reply {
	if !r.isText() {
		return r.each(func(item *reply) *reply { return fields(item, names) })
	}
	body := strings.TrimPrefix(r.body, "txt:")
	words := strings.FieldsFunc(body, func(c rune) bool { return c == ' ' || c == '\n' || c == '\r' })
	if strings.Contains(body, "\r\n") {
		words = strings.Split(body, "\r\n")
	}
	kept := *r
	kept.body = ""
	for _, name := range names {
		for _, word := range words {
			if rest, ok := strings.CutPrefix(word, name); ok && rest != "" && (rest[0] == '=' || rest[0] == ':') {
				kept.body += word + "\n"
			}
		}
	}
	return &kept
}

// but hides the values behind some names in a map, or in an array that is one in RESP2.
func but(r *reply, names []string) *reply {
	masked := r.each(func(item *reply) *reply { return but(item, names) })
	for i := 0; i+1 < len(masked.items); i += 2 {
		if slices.Contains(names, masked.items[i].body) {
			masked.items[i+1] = anything(masked.items[i+1])
		}
	}
	return masked
}

// has keeps those of an array's items that begin with one of the names.
func has(r *reply, names []string) *reply {
	kept := *r
	kept.text, kept.items = "(has)", nil
	for _, name := range names {
		for _, item := range r.items {
			if item.body == name || item.text == name {
				kept.items = append(kept.items, item)
			}
		}
	}
	return &kept
}

// digest is for what is long and has to be right nevertheless.
func digest(r *reply) *reply {
	if len(r.items) == 0 {
		return r
	}
	return &reply{kind: r.kind, text: fmt.Sprintf("%s sha256 %x", r.text, sha256.Sum256([]byte(r.String())))}
}

// before keeps of an error what stands before a mark.
func before(r *reply, mark string) *reply {
	kept := *r
	kept.text, _, _ = strings.Cut(r.text, mark)
	return &kept
}
