package member

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// A Control stream carries questions and answers in turn, each a length (4 bytes) and JSON. What an older version of a node does not know in a
// question it ignores; an operation it does not know it says so.

const (
	frameVersion  = 1
	maxFrameBytes = 256 << 10
)

// question is what one node, or an operator, asks another node.
type question struct {
	Version int
	Op      string // of those below

	Addr   string   `json:",omitempty"` // join, found: where the one who asks is reached
	Target string   `json:",omitempty"` // remove, transfer: a node's id, the beginning of one, or its address
	Via    []string `json:",omitempty"` // invite: addresses of members
	Index  uint64   `json:",omitempty"` // digest: the flush point
}

const (
	opStatus   = "status"   // who are you?
	opFound    = "found"    // do you promise to let me begin a cluster, with you in it?
	opJoin     = "join"     // take me in; or, of a member: I have moved
	opInvite   = "invite"   // ask those to take you in
	opRemove   = "remove"   // have somebody leave
	opTransfer = "transfer" // have somebody else lead
	opPoint    = "point"    // make a flush point that all nodes have
	opDigest   = "digest"   // take a hash over your data at a flush point
)

// reply is the answer to a question.
type reply struct {
	Version int
	Error   string     `json:",omitempty"` // "": done
	Leader  string     `json:",omitempty"` // address of the leader: the question is for it
	Report  *Report    `json:",omitempty"` // status
	Welcome *admission `json:",omitempty"` // join
	Index   uint64     `json:",omitempty"` // point
	Digest  *Digest    `json:",omitempty"` // digest; before it, others may come that say how far it is
	Passed  uint64     `json:",omitempty"` // records read
	More    bool       `json:",omitempty"` // this is not the answer yet
}

// admission is what a new member has to know before it can be one.
type admission struct {
	ClusterID string
	Epoch     uint64
	HashSeed  string // hex
}

// Report is what a node says of itself and of those it sees.
type Report struct {
	ID, ClusterID    string // of the node; "" if it belongs to no cluster
	Epoch            uint64
	Addr, ClientAddr string
	Boot             string
	WallMs           int64
	Version          string // of the program
	Feature          int
	Replica          bool   // it does not want to vote
	HasData          bool   // it belongs to no cluster, and is not empty
	Promised         string // id of the node that it lets begin a cluster
	WaitsFor         string // why it does not belong to a cluster yet, for people

	Ready   bool   // it serves clients
	Memory  int64  // its memory_budget; 0: it is too old to tell
	Removed bool   // the cluster goes on without it
	Role    string // replication.Role; "" before it takes part
	Term    uint64
	Leader  string // its ID
	First, Last, Committed,
	Applied uint64
	Members []Seen
}

// Seen is a member as the node that reports knows it.
type Seen struct {
	ID, Addr, ClientAddr string
	Voter, Reachable     bool
	LastContactMs        int64
	Match, Applied       uint64
}

// writeFrame sends one question or answer.
func writeFrame(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(text) > maxFrameBytes {
		return fmt.Errorf("a control frame of %d bytes: %d are allowed", len(text), maxFrameBytes)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

// readFrame receives one.
func readFrame(r io.Reader, v any) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxFrameBytes {
		return fmt.Errorf("a control frame of %d bytes: %d are allowed", n, maxFrameBytes)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}
