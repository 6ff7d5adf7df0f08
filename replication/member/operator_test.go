package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
)

// An operator's wish outlives the leader that died before it came, and one that is handed on; what a leader says against it is final.
func TestUntilLeader(t *testing.T) {
	dead := fmt.Errorf("b was %w", errNotAsked)
	type answer struct {
		reply
		err error
	}
	for name, c := range map[string]struct {
		answers []answer
		asked   []string
		want    string
	}{
		"done":         {[]answer{{}}, []string{"a"}, ""},
		"sent on":      {[]answer{{reply: reply{Leader: "b"}}, {}}, []string{"a", "b"}, ""},
		"dead leader":  {[]answer{{reply: reply{Leader: "b"}}, {err: dead}, {reply: reply{Error: noLeader}}, {reply: reply{Leader: "c"}}, {}}, []string{"a", "b", "a", "a", "c"}, ""},
		"handed on":    {[]answer{{reply: reply{Error: handedOn}}, {reply: reply{Leader: "b"}}, {}}, []string{"a", "a", "b"}, ""},
		"nobody there": {[]answer{{err: dead}}, []string{"a"}, dead.Error()},
		"broken off":   {[]answer{{reply: reply{Leader: "b"}}, {err: errors.New("EOF")}}, []string{"a", "b"}, "EOF"},
		"refused":      {[]answer{{reply: reply{Error: "no"}}}, []string{"a"}, "no"},
	} {
		var asked []string
		err := untilLeader(context.Background(), "a", func(addr string) (reply, error) {
			next := c.answers[len(asked)]
			asked = append(asked, addr)
			return next.reply, next.err
		})
		if got := fmt.Sprint(err); got != c.want && !(err == nil && c.want == "") || !slices.Equal(asked, c.asked) {
			t.Errorf("%s: %v, asked %v", name, err, asked)
		}
	}
}
