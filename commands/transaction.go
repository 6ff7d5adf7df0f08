package commands

// transactionRows are MULTI and what belongs to it. server/ answers them: here they are metadata only.
func transactionRows() []*Row {
	return []*Row{
		{
			Name: "discard", Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagAllowBusy,
			Categories: CatTransaction, Group: "transactions", Since: "2.0.0",
			Summary:    "Discard all commands issued after MULTI",
			Complexity: "O(N), when N is the number of queued commands",
			Session:    true,
		},
		{
			Name: "exec", Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagSkipSlowlog,
			Categories: CatTransaction, Group: "transactions", Since: "1.2.0",
			Summary:    "Execute all commands issued after MULTI",
			Complexity: "Depends on commands in the transaction",
			Session:    true,
		},
		{
			Name: "multi", Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagAllowBusy,
			Categories: CatTransaction, Group: "transactions", Since: "1.2.0",
			Summary:    "Mark the start of a transaction block",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "unwatch", Arity: 1, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagAllowBusy,
			Categories: CatTransaction, Group: "transactions", Since: "2.2.0",
			Summary:    "Forget about all watched keys",
			Complexity: "O(1)",
			Session:    true,
		},
		{
			Name: "watch", Arity: -2, Flags: FlagNoScript | FlagLoading | FlagStale | FlagFast | FlagAllowBusy,
			Keys:       allKeys(KeyRO),
			Categories: CatTransaction, Group: "transactions", Since: "2.2.0",
			Summary:    "Watch the given keys to determine execution of the MULTI/EXEC block",
			Complexity: "O(1) for every key.",
			Session:    true,
		},
	}
}
