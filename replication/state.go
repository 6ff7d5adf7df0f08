package replication

import "time"

// Role is what a node is at the moment.
type Role int

const (
	Alone     Role = iota // there is no cluster
	Follower              // another node leads, or none does
	Candidate             // it tries to become the leader
	Leader                // it evaluates commands
	Diverged              // it knows what the cluster does not: it serves nobody until it has a copy of the cluster's data
)

func (r Role) String() string {
	return [...]string{Alone: "alone", Follower: "follower", Candidate: "candidate", Leader: "leader", Diverged: "diverged"}[r]
}

// Member is a node of the cluster as another node, or it itself, knows it.
type Member struct {
	ID         string // 32 hex digits, drawn when its data directory was made
	Addr       string // host:port of its cluster port
	ClientAddr string // host:port of its port for clients; "" if nobody here has talked to it yet
	Voter      bool
	Feature    int // its feature level, as it last said; 0 if nobody here has talked to it yet

	Reachable   bool          // it has answered lately
	LastContact time.Duration // since its last answer; 0 for this node itself; meaningless if it never answered
	Match       uint64        // on the leader: index up to which its log is known to agree; elsewhere the end of its log as it last said
	Applied     uint64        // index that it has applied, as it last said

	LagBytes int64         // on the leader: about how many bytes of its log the node lacks; all of them if it lacks more than there are
	Append   time.Duration // on the leader: how long it takes to answer entries, on the average of the last few
}

// State is what a node knows of its cluster at one moment.
type State struct {
	Role      Role
	ClusterID string // 32 hex digits, "" if Alone
	ID        string // of this node
	Term      uint64
	Leader    string   // ID of the leader, "" if none is known
	Members   []Member // of the newest configuration in this node's log, this node included, ordered by ID

	First, Last uint64 // entries of this node's log; Last < First: none
	Committed   uint64 // highest index known to be committed
	Applied     uint64 // highest index applied
}

// Member returns the member with an ID.
func (s *State) Member(id string) (Member, bool) {
	for _, m := range s.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}
