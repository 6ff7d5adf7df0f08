package commands

// sentinelRows are those of Redis Sentinel, which a sett's cluster answers on its ordinary port. server/ does: here they are metadata only.
func sentinelRows() []*Row {
	sub := func(name string, arity int, since, summary string) *Row {
		return &Row{
			Name: "sentinel|" + name, Arity: arity, Flags: FlagAdmin,
			Group: "sentinel", Since: since, Summary: summary, Complexity: "O(N) where N is the number of nodes", Session: true,
		}
	}
	help := sub("help", 2, "6.2.0", "Show helpful text about the different subcommands")
	help.Flags = FlagLoading | FlagStale
	return []*Row{{
		Name: "sentinel", Arity: -2, Flags: FlagAdmin,
		Group: "sentinel", Since: "2.8.4",
		Summary:    "A container for Sentinel commands",
		Complexity: "Depends on subcommand.",
		Session:    true,
		Subcommands: []*Row{
			sub("ckquorum", 3, "2.8.4", "Check for a Sentinel quorum"),
			sub("config", -3, "6.2.0", "Configure Sentinel"),
			sub("debug", -2, "7.0.0", "List or update the current configurable parameters"),
			sub("failover", 3, "2.8.4", "Force a failover"),
			sub("flushconfig", 2, "2.8.4", "Rewrite configuration file"),
			sub("get-master-addr-by-name", 3, "2.8.4", "Get port and address of a master"),
			help,
			sub("info-cache", -3, "3.2.0", "Get cached INFO from the instances in the deployment"),
			sub("is-master-down-by-addr", 6, "2.8.4", "Check if a master is down"),
			sub("master", 3, "2.8.4", "Shows the state of a master"),
			sub("masters", 2, "2.8.4", "List the monitored masters"),
			sub("monitor", 6, "2.8.4", "Start monitoring"),
			sub("myid", 2, "6.2.0", "Get the Sentinel instance ID"),
			sub("pending-scripts", 2, "2.8.4", "Get information about pending scripts"),
			sub("remove", 3, "2.8.4", "Stop monitoring"),
			sub("replicas", 3, "5.0.0", "List the monitored replicas"),
			sub("reset", 3, "2.8.4", "Reset masters by name pattern"),
			sub("sentinels", 3, "2.8.4", "List the Sentinel instances"),
			sub("set", -5, "2.8.4", "Change the configuration of a monitored master"),
			sub("simulate-failure", -3, "3.2.0", "Simulate failover scenarios"),
			sub("slaves", 3, "2.8.0", "List the monitored slaves"),
		},
	}}
}
