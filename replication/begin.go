package replication

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// begin makes a new cluster's first entry, the configuration, if this node is to begin one. It takes the place behind what the node has from its time
// alone, in term 1: that is the cluster's from now on. Raft begins at what is durable in Badger, for which there is a marker; entries behind it are
// committed with the first of a leader's.
//
// A power cut in the middle leaves the entry without the term, which is written last: the next start goes on.
func (c *Cluster) begin() error {
	term, err := c.votes.term()
	if err != nil || term > 0 || c.o.Bootstrap == nil {
		return err
	}
	configuration := raft.Configuration{}
	for _, m := range c.o.Bootstrap {
		configuration.Servers = append(configuration.Servers, raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.Addr)})
	}
	durable := c.store.Applied() // as it has just been opened
	_, last := c.logs.entries.bounds()
	last = max(last, durable)
	var there raft.Log
	err = c.logs.GetLog(last, &there)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	if err != nil || there.Type != raft.LogConfiguration {
		first := &raft.Log{Index: last + 1, Term: soloTerm, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configuration)}
		if err := c.logs.entries.append([]*raft.Log{first}); err != nil {
			return err
		}
	}
	if err := c.logs.sync(); err != nil {
		return err
	}
	if durable > 0 {
		if err := c.copies.Mark(durable, soloTerm, configuration, durable); err != nil {
			return fmt.Errorf("marking where the cluster begins: %w", err)
		}
	}
	if last > 0 {
		c.o.Logger.Info("the cluster begins with the data of this node", "entries", last, "durable", durable)
	}
	return c.votes.SetUint64(keyTerm, soloTerm)
}
