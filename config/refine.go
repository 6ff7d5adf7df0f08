package config

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// The checks that Redis makes beyond a parameter's type.

// refusal is an error in the words of Redis, which begin and end as they like.
type refusal string

func (r refusal) Error() string { return string(r) }

// checkBind is Redis' limit on the number of addresses; the addresses themselves are tried when the server listens.
func checkBind(_, text string) (string, error) {
	addresses := strings.Fields(text)
	switch {
	case len(addresses) > 16:
		return "", refusal("Too many bind addresses specified.")
	case len(addresses) == 0:
		return "", refusal("an empty list would leave the server without a listener")
	}
	return strings.Join(addresses, " "), nil
}

// cLong reads what C's strtoll reads to the end of the string; an empty one is 0.
func cLong(s string) (int64, bool) {
	if s == "" {
		return 0, true
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// refineSave checks pairs of seconds and changes.
func refineSave(_, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	words := strings.Split(text, " ")
	bad := len(words)%2 != 0
	for i, w := range words {
		n, ok := cLong(w)
		bad = bad || !ok || n < 0 || n == 0 && i%2 == 0
		words[i] = strconv.FormatInt(n, 10)
	}
	if bad {
		return "", refusal("Invalid save parameters")
	}
	return strings.Join(words, " "), nil
}

// refineOutputLimits merges groups of class, hard limit, soft limit and seconds into the old setting.
func refineOutputLimits(old, text string) (string, error) {
	classes := []string{"normal", "slave", "pubsub"}
	limits := map[string]string{}
	for i, was := 0, strings.Split(old, " "); i+3 < len(was); i += 4 {
		limits[was[i]] = strings.Join(was[i:i+4], " ")
	}
	var words []string
	if text != "" {
		words = strings.Split(text, " ")
	}
	if len(words)%4 != 0 {
		return "", refusal("Wrong number of arguments in buffer limit configuration.")
	}
	for ; len(words) > 0; words = words[4:] {
		class := strings.ToLower(words[0])
		if class == "replica" {
			class = "slave"
		}
		if limits[class] == "" {
			return "", refusal("Invalid client class specified in buffer limit configuration.")
		}
		hard, ok1 := parseBytes(words[1])
		soft, ok2 := parseBytes(words[2])
		seconds, ok3 := cLong(words[3])
		if !ok1 || !ok2 || !ok3 || hard < 0 || soft < 0 || seconds < 0 {
			return "", refusal("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
		}
		limits[class] = class + " " + strconv.FormatInt(hard, 10) + " " + strconv.FormatInt(soft, 10) + " " + strconv.FormatInt(seconds, 10)
	}
	shown := make([]string, len(classes))
	for i, c := range classes {
		shown[i] = limits[c]
	}
	return strings.Join(shown, " "), nil
}

// refineOOMScores checks the three scores of oom-score-adj-values.
func refineOOMScores(_, text string) (string, error) {
	words := strings.Split(text, " ")
	if len(words) != 3 {
		return "", refusal("wrong number of arguments")
	}
	for i, w := range words {
		n, ok := cLong(w)
		if !ok || n < -2000 || n > 2000 {
			return "", refusal("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
		}
		words[i] = strconv.FormatInt(n, 10)
	}
	return strings.Join(words, " "), nil
}

// refineEvents brings notify-keyspace-events into the order in which Redis shows it. The ten classes together are A,
// beside which Redis does not show n.
func refineEvents(_, text string) (string, error) {
	const all = "g$lshzxetd"
	has := func(c rune) bool { return strings.ContainsRune(text, c) }
	for _, c := range text {
		if !strings.ContainsRune("A"+all+"nKEm", c) {
			return "", refusal("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
		}
	}
	var classes, shown strings.Builder
	for _, c := range all {
		if has('A') || has(c) {
			classes.WriteRune(c)
		}
	}
	if classes.String() == all {
		shown.WriteByte('A')
	} else {
		shown.WriteString(classes.String())
		if has('n') {
			shown.WriteByte('n')
		}
	}
	for _, c := range "KEm" {
		if has(c) {
			shown.WriteRune(c)
		}
	}
	return shown.String(), nil
}

// refinePercentiles writes each number with at most six decimals.
func refinePercentiles(_, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	words := strings.Split(text, " ")
	for i, w := range words {
		p, err := strconv.ParseFloat(w, 64)
		if err != nil || p != p || strings.Contains(w, "_") {
			return "", refusal("Invalid latency-tracking-info-percentiles parameters")
		}
		if p < 0 || p > 100 {
			return "", refusal("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")
		}
		words[i] = strings.TrimRight(strings.TrimRight(strconv.FormatFloat(p, 'f', 6, 64), "0"), ".")
	}
	return strings.Join(words, " "), nil
}

// refineTitle checks that the template has no unknown variable and is not empty once they are filled in.
func refineTitle(_, text string) (string, error) {
	bad := refusal("template format is invalid or contains unknown variables")
	filled := ""
	for rest := text; rest != ""; {
		before, after, open := strings.Cut(rest, "{")
		filled += before
		if !open {
			break
		}
		if strings.HasPrefix(after, "{") {
			filled += "{"
			rest = after[1:]
			continue
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			return "", bad
		}
		switch name {
		case "title", "listen-addr", "server-mode", "port", "tls-port":
			filled += name
		case "config-file", "unixsocket": // may be empty
		default:
			return "", bad
		}
		rest = after
	}
	if strings.TrimSpace(filled) == "" {
		return "", bad
	}
	return text, nil
}

func refineHostname(_, text string) (string, error) {
	if len(text) >= 256 {
		return "", refusal("Hostnames must be less than 256 characters")
	}
	for _, c := range []byte(text) {
		if !alphanumeric(c) && c != '-' && c != '.' {
			return "", refusal("Hostnames may only contain alphanumeric characters, hyphens or dots")
		}
	}
	return text, nil
}

func refineNodename(_, text string) (string, error) {
	for _, c := range []byte(text) {
		if !alphanumeric(c) && strings.IndexByte("!#$%&()*+:;<>?@[]^{|}~", c) >= 0 {
			return "", refusal("Announced human node name contained invalid character")
		}
	}
	return text, nil
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// refineFileName takes a name that is not a path; what is how Redis calls the parameter and the thing it names.
func refineFileName(parameter, thing string, mayBeEmpty bool) func(old, text string) (string, error) {
	return func(_, text string) (string, error) {
		if text == "" && !mayBeEmpty {
			return "", refusal(parameter + " can't be empty")
		}
		if strings.ContainsAny(text, `/\`) {
			return "", refusal(parameter + " can't be a path, just a " + thing)
		}
		return text, nil
	}
}

func refineShutdown(_, text string) (string, error) {
	if strings.Contains(" "+text+" ", " save ") && strings.Contains(text, "nosave") {
		return "", refusal("shutdown options SAVE and NOSAVE can't be used simultaneously")
	}
	return text, nil
}

// refineHz moves the number into the range that Redis uses.
func refineHz(_, text string) (string, error) {
	n, _ := parseInt(text)
	return strconv.FormatInt(min(max(n, 1), 500), 10), nil
}

func refineDefrag(_, text string) (string, error) {
	if text == "yes" {
		return "", refusal("Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified Jemalloc " +
			"like the one shipped by default with the Redis source distribution")
	}
	return text, nil
}

// refineReplicaOf takes a host and a port; "no one" is none.
func refineReplicaOf(_, text string) (string, error) {
	words := strings.Fields(text)
	if len(words) == 0 || len(words) == 2 && strings.EqualFold(text, "no one") {
		return "", nil
	}
	if len(words) != 2 {
		return "", refusal("wrong number of arguments")
	}
	if port, err := strconv.Atoi(words[1]); err != nil || port < 0 || port > 65535 {
		return "", refusal("Invalid master port")
	}
	return strings.Join(words, " "), nil
}

// checkAddress checks an address with a port; an empty one is none.
func checkAddresses(_, text string) (string, error) {
	for _, address := range strings.Fields(text) {
		if _, err := checkAddress("", address); err != nil {
			return "", err
		}
	}
	return text, nil
}

func checkAddress(_, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return "", errors.New("it takes address:port, or nothing")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("%q is no port", port)
	}
	return text, nil
}
