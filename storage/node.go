package storage

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// Node is who the node with this data directory is, and to which cluster it belongs.
type Node struct {
	ID        string // 32 hex digits, drawn when the directory was made: a node that lost its directory is another node
	ClusterID string // 32 hex digits; "": it belongs to none
	Epoch     uint64 // of the cluster: a recovery begins a new one, and leaves behind who did not take part
	Addr      string // host:port at which the others last reached it; "": not known yet
	Founders  []Founder
	Promised  Promise
}

// Founder is a voter of a cluster that is being founded. A node has Founders from when it begins a cluster until its log has them.
type Founder struct{ ID, Addr string }

// Promise says that this node, which belongs to no cluster, lets another one begin a cluster with it, and meanwhile nobody else.
type Promise struct {
	Founder string // its ID; "": nothing is promised
	Addr    string // where it was then
	Boot    string // which of its processes asked
}

// nodeFormat is the format of node.json: 1 knows of clusters, 0 is an ID alone.
const nodeFormat = 1

// nodeRecord is node.json.
type nodeRecord struct {
	ID        string
	Format    int       `json:",omitempty"`
	ClusterID string    `json:",omitempty"`
	Epoch     uint64    `json:",omitempty"`
	HashSeed  string    `json:",omitempty"` // 16 bytes, hex: of the cluster
	Addr      string    `json:",omitempty"`
	Founders  []Founder `json:",omitempty"`
	Promised  *Promise  `json:",omitempty"`
}

// nodeState is what a Dir knows of node.json.
type nodeState struct {
	mu       sync.Mutex
	known    Node     // guarded by mu
	hashSeed [16]byte // of the cluster; guarded by mu
}

func newNodeID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// loadNode reads node.json. A node that is alone needs none of it, so that it starts without; should it join a cluster, it is a new node.
func (d *Dir) loadNode() error {
	var r nodeRecord
	ok, err := readChecked(d.fs, d.file(nodeFile), &r)
	switch {
	case err == nil && ok && r.Format > nodeFormat:
		return refused("%s was written by a newer sett: start that one", d.file(nodeFile))
	case err == nil && ok:
	case d.format.Version == FormatVersion:
		r = nodeRecord{ID: newNodeID()}
	case err != nil:
		return err
	default:
		return refused("%s is missing, and the directory belongs to a cluster: it was damaged. Give the node an empty directory, and it copies the data from the others", d.file(nodeFile))
	}
	n := &d.node
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known = Node{ID: r.ID, ClusterID: r.ClusterID, Epoch: r.Epoch, Addr: r.Addr, Founders: r.Founders}
	if r.Promised != nil {
		n.known.Promised = *r.Promised
	}
	hex.Decode(n.hashSeed[:], []byte(r.HashSeed))
	return nil
}

// writeNode makes node.json what it should be, durably. Of the clusters' seed it writes what is known.
func (d *Dir) writeNode(to Node) error {
	n := &d.node
	n.mu.Lock()
	defer n.mu.Unlock()
	r := nodeRecord{ID: to.ID, Addr: to.Addr}
	switch {
	case to.ClusterID != "":
		r = nodeRecord{ID: to.ID, Format: nodeFormat, ClusterID: to.ClusterID, Epoch: to.Epoch, HashSeed: hex.EncodeToString(n.hashSeed[:]),
			Addr: to.Addr, Founders: to.Founders}
	case to.Promised.Founder != "":
		r.Format, r.Promised = nodeFormat, &to.Promised
	}
	if err := writeChecked(d.fs, d.file(nodeFile), r); err != nil {
		return err
	}
	n.known = to
	return nil
}

// Node returns who this node is.
func (d *Dir) Node() Node {
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	known := d.node.known
	known.Founders = slices.Clone(known.Founders)
	return known
}

// HashSeed seeds the hash in keys. It is alike on all nodes of a cluster: that of the node that began it.
func (d *Dir) HashSeed() [16]byte {
	d.node.mu.Lock()
	defer d.node.mu.Unlock()
	if d.node.known.ClusterID == "" {
		return d.Seed()
	}
	return d.node.hashSeed
}

var errOtherCluster = errors.New("this data directory belongs to a cluster already")

// Join makes the directory one of a cluster, durably: it is called before anything of the cluster is stored here, and never again for another
// one. founders are the first voters if this node begins the cluster.
func (d *Dir) Join(clusterID string, epoch uint64, hashSeed [16]byte, addr string, founders []Founder) error {
	now := d.Node()
	if now.ClusterID != "" {
		return errOtherCluster
	}
	if len(clusterID) != 32 {
		return fmt.Errorf("%q is no id of a cluster", clusterID)
	}
	// FORMAT first: a directory that only an older build would misread harms nobody.
	format := d.format
	format.Version = clusterFormat
	if err := writeChecked(d.fs, d.file(formatFile), format); err != nil {
		return err
	}
	d.format = format
	d.node.mu.Lock()
	d.node.hashSeed = hashSeed
	d.node.mu.Unlock()
	return d.writeNode(Node{ID: now.ID, ClusterID: clusterID, Epoch: epoch, Addr: addr, Founders: founders})
}

// Settle forgets the founders: the cluster's log has them.
func (d *Dir) Settle() error {
	now := d.Node()
	if len(now.Founders) == 0 {
		return nil
	}
	now.Founders = nil
	return d.writeNode(now)
}

// SetAddr notes at which address the others reach this node.
func (d *Dir) SetAddr(addr string) error {
	now := d.Node()
	if now.Addr == addr {
		return nil
	}
	now.Addr = addr
	return d.writeNode(now)
}

// SetPromise notes what is promised; the empty Promise: nothing any more.
func (d *Dir) SetPromise(p Promise) error {
	now := d.Node()
	if now.ClusterID != "" {
		return errOtherCluster
	}
	if now.Promised == p {
		return nil
	}
	now.Promised = p
	return d.writeNode(now)
}

// SetEpoch begins a new epoch of the cluster: who is still in an older one is not listened to any more.
func (d *Dir) SetEpoch(epoch uint64) error {
	now := d.Node()
	if now.ClusterID == "" || epoch <= now.Epoch {
		return fmt.Errorf("epoch %d cannot follow %d", epoch, now.Epoch)
	}
	now.Epoch = epoch
	return d.writeNode(now)
}
