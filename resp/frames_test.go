package resp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestFrames: a stream of replies, cut anywhere, is taken apart where its replies end.
func TestFrames(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 300 {
		var replies []string
		for range 1 + rng.IntN(8) {
			replies = append(replies, randomReply(rng, 3))
		}
		stream := strings.Join(replies, "")
		var f Frames
		var found []string
		at := 0 // where the reply at hand begins
		for from := 0; from < len(stream); {
			to := min(from+1+rng.IntN(1+rng.IntN(40)), len(stream))
			for from < to {
				n, whole := f.Next([]byte(stream[from:to]))
				from += n
				if whole {
					found = append(found, stream[at:from])
					at = from
				} else if from < to {
					t.Fatalf("round %d: stopped at byte %d of %q without a whole reply", round, from, stream)
				}
				if f.Begun() == whole {
					t.Fatalf("round %d: Begun is %v at byte %d of %q", round, f.Begun(), from, stream)
				}
			}
		}
		if fmt.Sprintf("%q", found) != fmt.Sprintf("%q", replies) {
			t.Fatalf("round %d: found %q in %q", round, found, replies)
		}
	}
}

func randomReply(rng *rand.Rand, depth int) string {
	kinds := 9
	if depth > 0 {
		kinds = 14
	}
	text := strings.Repeat("-$*\r", rng.IntN(4))
	n := rng.IntN(4)
	elements := func(n int) (all string) {
		for range n {
			all += randomReply(rng, depth-1)
		}
		return all
	}
	switch rng.IntN(kinds) {
	case 0:
		return "+OK\r\n"
	case 1:
		return "-ERR no 17\r\n"
	case 2:
		return ":-12\r\n"
	case 3:
		return "$-1\r\n"
	case 4:
		return "*-1\r\n"
	case 5:
		return "_\r\n"
	case 6:
		return ",1.5e3\r\n"
	case 7:
		return fmt.Sprintf("=%d\r\ntxt:%s\r\n", len(text)+4, text)
	case 8:
		return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	case 9:
		return fmt.Sprintf("*%d\r\n%s", n, elements(n))
	case 10:
		return fmt.Sprintf("~%d\r\n%s", n, elements(n))
	case 11:
		return fmt.Sprintf("%%%d\r\n%s", n, elements(2*n))
	case 12:
		return fmt.Sprintf("|%d\r\n%s%s", n, elements(2*n), randomReply(rng, depth-1))
	}
	return fmt.Sprintf(">%d\r\n%s", n+1, elements(n+1))
}
