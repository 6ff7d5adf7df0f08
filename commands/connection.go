package commands

// connectionRows are what a client says about its connection. server/ answers them: here they are metadata only.
func connectionRows() []*Row {
	return []*Row{
		{
			Name: "auth", Arity: -2, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagNoAuth | FlagAllowBusy,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Summary:    "Authenticate to the server",
			Complexity: "O(N) where N is the number of passwords defined for the user",
			Session:    true,
		},
		{
			Name: "client", Arity: -2,
			Group: "connection", Since: "2.4.0",
			Summary:     "A container for client connection commands",
			Complexity:  "Depends on subcommand.",
			Session:     true,
			Subcommands: clientRows(),
		},
		{
			Name: "echo", Arity: 2, Flags: FlagLoading | FlagStale | FlagFast,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Summary:    "Echo the given string",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "hello", Arity: -1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagNoAuth | FlagAllowBusy,
			Categories: CatConnection, Group: "connection", Since: "6.0.0",
			Summary:    "Handshake with Redis",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "ping", Arity: -1, Flags: FlagFast,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			Summary:    "Ping the server",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "quit", Arity: -1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagNoAuth | FlagAllowBusy,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Summary:    "Close the connection",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "reset", Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagNoAuth | FlagAllowBusy,
			Categories: CatConnection, Group: "connection", Since: "6.2.0",
			Summary:    "Reset the connection",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "select", Arity: 2, Flags: FlagLoading | FlagStale | FlagFast,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Summary:    "Change the selected database for the current connection",
			Complexity: "O(1)",
			Session:    true,
		},
	}
}

// clientRows are CLIENT's subcommands: those of Redis 7.2 but for what needs tracking.
func clientRows() []*Row {
	return []*Row{
		{
			Name: "client|getname", Arity: 2, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "2.6.9",
			Summary:    "Get the current connection name",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|getredir", Arity: 2, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "6.0.0",
			Summary:    "Get tracking notifications redirection client ID if any",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|help", Arity: 2, Flags: FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "5.0.0",
			Summary:    "Show helpful text about the different subcommands",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|id", Arity: 2, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "5.0.0",
			Summary:    "Returns the client ID for the current connection",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|info", Arity: 2, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "6.2.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Returns information about the current client connection.",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|kill", Arity: -3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "2.4.0",
			Summary:    "Kill the connection of a client",
			Complexity: "O(N) where N is the number of client connections",
			Session:    true,
		},
		{
			Name: "client|list", Arity: -2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "2.4.0",
			Tips:       []string{"nondeterministic_output"},
			Summary:    "Get the list of client connections",
			Complexity: "O(N) where N is the number of client connections",
			Session:    true,
		},
		{
			Name: "client|no-evict", Arity: 3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "7.0.0",
			Summary:    "Set client eviction mode for the current connection",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|no-touch", Arity: 3, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "7.2.0",
			Summary:    "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|pause", Arity: -3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "2.9.50",
			Summary:    "Stop processing commands from clients for some time",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|reply", Arity: 3, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "3.2.0",
			Summary:    "Instruct the server whether to reply to commands",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|setinfo", Arity: 4, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "7.2.0",
			Summary:    "Sets information specific to the client or connection.",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|setname", Arity: 3, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "2.6.9",
			Summary:    "Set the current connection name",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|trackinginfo", Arity: 2, Flags: FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "6.2.0",
			Summary:    "Return information about server assisted client side caching for the current connection",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "client|unblock", Arity: -3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "5.0.0",
			Summary:    "Unblock a client blocked in a blocking command from a different connection",
			Complexity: "O(log N) where N is the number of client connections",
			Session:    true,
		},
		{
			Name: "client|unpause", Arity: 2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
			Categories: CatConnection, Group: "connection", Since: "6.2.0",
			Summary:    "Resume processing of clients that were paused",
			Complexity: "O(N) Where N is the number of paused clients",
			Session:    true,
		},
	}
}
