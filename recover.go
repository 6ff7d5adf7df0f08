package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"sett/config"
	"sett/replication"
	"sett/replication/member"
	"sett/replication/mesh"
	"sett/replication/wal"
	"sett/storage"
)

// recoverNode is sett cluster recover. Without --yes it says what would be done, and what would be lost.
func recoverNode(cfg *config.Config, args []string, stdout, stderr io.Writer) int {
	yes := len(args) == 1 && args[0] == "--yes"
	if len(args) > 0 && !yes {
		return misuse(stderr, "recover takes --yes, or nothing")
	}
	dir, err := storage.OpenDir(storage.OSFS{}, cfg.String("dir"))
	if err != nil {
		return failed(stderr, err)
	}
	defer dir.Close()
	log, err := openLogOf(cfg, dir)
	if err != nil {
		return failed(stderr, err)
	}
	if log != nil {
		defer log.Close()
	}
	r, err := replication.NewRecovery(dir, log)
	if err != nil {
		return failed(stderr, err)
	}
	defer r.Close()
	describe(stdout, dir.Node(), r)
	if err := nobodyAnswers(cfg, dir.Node(), r.Members); err != nil {
		return failed(stderr, err)
	}
	if !yes {
		fmt.Fprintln(stdout, "\nNothing has been done. To do it: the same with --yes")
		return exitClean
	}
	if err := r.GoOnAlone(); err != nil {
		return failed(stderr, err)
	}
	fmt.Fprintf(stdout, "\nDone: this node is the cluster now, in epoch %d. Start it; then start the others with an empty dir.\n", r.Epoch)
	return exitClean
}

// openLogOf opens the log as a start does; nil if raft-boltdb has it.
func openLogOf(cfg *config.Config, dir *storage.Dir) (*wal.Log, error) {
	if cfg.String("raft.log") == "boltdb" {
		return nil, nil
	}
	durable, err := dir.Durable()
	if err != nil {
		return nil, err
	}
	copied, err := dir.Copied()
	if err != nil {
		return nil, err
	}
	return wal.Open(wal.Options{FS: storage.OSFS{}, Dir: dir.LogDir(), SegmentBytes: cfg.Bytes("log.segment_bytes"), Seed: dir.Seed()},
		wal.Known{Durable: durable, CleanEnd: dir.CleanEnd(), Installed: copied})
}

func describe(w io.Writer, self storage.Node, r *replication.Recovery) {
	made := ""
	if !r.At.IsZero() {
		made = ", written " + r.At.Format(time.RFC3339)
	}
	fmt.Fprintf(w, "This is node %s at %s, of cluster %s, epoch %d.\n", self.ID, self.Addr, self.ClusterID, self.Epoch)
	fmt.Fprintf(w, "Its log ends with entry %d of term %d%s. The members it knows of:\n\n", r.Last, r.Term, made)
	for _, m := range r.Members {
		is := "voter"
		if !m.Voter {
			is = "replica"
		}
		if m.ID == self.ID {
			is += ", this node"
		}
		fmt.Fprintf(w, "  %s  %s  %s\n", m.ID, m.Addr, is)
	}
	fmt.Fprintf(w, `
If it goes on alone:

  lost   what the others had acknowledged behind entry %d. Nobody can tell from here whether there was any. If another of the nodes still has its
         directory, run this there as well, and recover the one whose last entry has the higher term; of the same term, the higher number.
  kept   everything up to entry %d, also what no majority had agreed on yet: a write that was never answered, or with -INDOUBT, may turn out to be done.
  never  may the others come back with the data they have: the cluster begins epoch %d, and they are refused. Give them an empty dir; they join as new nodes.
`, r.Last, r.Last, r.Epoch)
}

// nobodyAnswers makes sure that the other members are gone: as long as they can agree they are the cluster.
func nobodyAnswers(cfg *config.Config, self storage.Node, members []replication.Member) error {
	tls, err := mesh.LoadTLS(cfg.String("cluster.tls_cert_file"), cfg.String("cluster.tls_key_file"), cfg.String("cluster.tls_ca_cert_file"))
	if err != nil {
		return err
	}
	m := member.Operator(cfg.String("cluster.secret"), tls)
	defer m.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	for _, other := range members {
		if other.ID == self.ID {
			continue
		}
		if r, err := member.Status(ctx, m, other.Addr); err == nil && r.ID == other.ID && r.Epoch == self.Epoch {
			return fmt.Errorf("%s at %s answers: this is for when most of the others are gone for good. If it is to be given up, stop it first", other.ID, other.Addr)
		}
	}
	return nil
}
