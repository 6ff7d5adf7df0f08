package compat

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A recording lies beside its script, one file for each protocol:
//
//	## SET and its options
//	> GET k
//	"a\x00b"
//	> MGET k nokey
//	*2
//	  "a\x00b"
//	  $-1
//
// Everything but a string stands as it came over the wire, without line ends; a string is what it says in quotes.
type recordedScene struct {
	title   string
	answers []answer
}

type answer struct{ line, reply string }

func recordingPath(s *script, proto int) string {
	return fmt.Sprintf("testdata/%s.resp%d", s.name, proto)
}

func readRecording(t *testing.T, s *script, proto int) (scenes []recordedScene) {
	t.Helper()
	text, err := os.ReadFile(recordingPath(s, proto))
	if err != nil {
		t.Fatalf("%v: go test ./e2e/compat -run TestRecording/%s -record", err, s.name)
	}
	for _, l := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		title, begins := strings.CutPrefix(l, "## ")
		switch asked, isLine := strings.CutPrefix(l, "> "); {
		case begins:
			scenes = append(scenes, recordedScene{title: title})
		case isLine:
			now := &scenes[len(scenes)-1]
			now.answers = append(now.answers, answer{line: asked})
		default:
			answers := scenes[len(scenes)-1].answers
			answers[len(answers)-1].reply += l + "\n"
		}
	}
	return scenes
}

func writeRecording(t *testing.T, s *script, proto int, st *stage, before func(*line) error) {
	t.Helper()
	var out strings.Builder
	for _, sc := range s.scenes {
		fmt.Fprintf(&out, "## %s\n", sc.title)
		err := st.play(sc, before, func(l *line, got string) { fmt.Fprintf(&out, "> %s\n%s", l.text, got) })
		if err != nil {
			t.Fatalf("scripts/%s.txt, RESP%d, %s: %v", s.name, proto, sc.title, err)
		}
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recordingPath(s, proto), []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
