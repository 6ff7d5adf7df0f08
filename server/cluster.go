package server

import "sett/commands"

// Cluster mode is off: these answer as Redis does then.

func clusterHandlers(table *commands.Table) map[string]*handler {
	off := &handler{run: func(_ *session, b *buffers, _ [][]byte) { fail(b, errNoCluster) }}
	handlers := map[string]*handler{"readonly": off, "readwrite": off, "asking": off, "cluster": {run: onlySubcommands}}
	for _, sub := range table.Lookup([]byte("cluster")).Subcommands {
		handlers[sub.Name] = off
	}
	alone := &handler{run: func(_ *session, b *buffers, _ [][]byte) { fail(b, errAlone) }}
	for _, name := range []string{"addslots", "addslotsrange", "bumpepoch", "delslots", "delslotsrange", "failover", "flushslots", "forget", "meet",
		"replicate", "reset", "saveconfig", "set-config-epoch", "setslot"} {
		handlers["cluster|"+name] = alone
	}
	return handlers
}
