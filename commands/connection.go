package commands

// connectionRows are what a client says about its connection. server/ answers them: here they are metadata only.
func connectionRows() []*Row {
	return []*Row{
		{
			Name: "echo", Arity: 2, Flags: FlagLoading | FlagStale | FlagFast,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Summary:    "Echo the given string",
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
			Name: "select", Arity: 2, Flags: FlagLoading | FlagStale | FlagFast,
			Categories: CatConnection, Group: "connection", Since: "1.0.0",
			Summary:    "Change the selected database for the current connection",
			Complexity: "O(1)",
			Session:    true,
		},
	}
}
