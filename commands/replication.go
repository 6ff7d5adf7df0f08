package commands

// replicationRows are what masters and replicas say to each other, and what is asked about them. server/ answers them: here they are
// metadata only.
func replicationRows() []*Row {
	return []*Row{
		{
			Name: "failover", Arity: -1, Flags: FlagAdmin | FlagNoScript | FlagStale,
			Group: "server", Since: "6.2.0",
			Summary:    "Start a coordinated failover between this server and one of its replicas.",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "psync", Arity: -3, Flags: FlagAdmin | FlagNoScript | FlagNoAsyncLoading | FlagNoMulti,
			Group: "server", Since: "2.8.0",
			Summary: "Internal command used for replication",
			Session: true,
		},
		{
			Name: "replconf", Arity: -1, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale | FlagAllowBusy,
			Group: "server", Since: "3.0.0",
			Summary:    "An internal command for configuring the replication stream",
			Complexity: "O(1)",
			Syscmd:     true,
			Session:    true,
		},
		{
			Name: "replicaof", Arity: 3, Flags: FlagAdmin | FlagNoScript | FlagStale | FlagNoAsyncLoading,
			Group: "server", Since: "5.0.0",
			Summary:    "Make the server a replica of another instance, or promote it as master.",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "role", Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast,
			Categories: CatAdmin | CatDangerous, Group: "server", Since: "2.8.12",
			Summary:    "Return the role of the instance in the context of replication",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "slaveof", Arity: 3, Flags: FlagAdmin | FlagNoScript | FlagStale | FlagNoAsyncLoading,
			Group: "server", Since: "1.0.0",
			Summary:    "Make the server a replica of another instance, or promote it as master.",
			Complexity: "O(1)",
			Deprecated: "5.0.0",
			ReplacedBy: "`REPLICAOF`",
			Session:    true,
		},
		{
			Name: "sync", Arity: 1, Flags: FlagAdmin | FlagNoScript | FlagNoAsyncLoading | FlagNoMulti,
			Group: "server", Since: "1.0.0",
			Summary: "Internal command used for replication",
			Session: true,
		},
		{
			Name: "wait", Arity: 3, Flags: FlagNoScript,
			Categories: CatConnection, Group: "generic", Since: "3.0.0",
			Tips:       []string{"request_policy:all_shards", "response_policy:agg_min"},
			Summary:    "Wait for the synchronous replication of all the write commands sent in the context of the current connection",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "waitaof", Arity: 4, Flags: FlagBlocking,
			Categories: CatConnection, Group: "generic", Since: "7.2.0",
			Tips:       []string{"request_policy:all_shards", "response_policy:agg_min"},
			Summary:    "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas.",
			Complexity: "O(1)",
			Session:    true,
		},
	}
}
