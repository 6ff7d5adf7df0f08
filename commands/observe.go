package commands

import "sett/types"

// observeRows are the rows of SLOWLOG, LATENCY and MEMORY. server/ answers them, but for MEMORY USAGE.
func observeRows() []*Row {
	return []*Row{
		{
			Name: "latency", Arity: -2,
			Group: "server", Since: "2.8.13",
			Summary:    "A container for latency diagnostics commands",
			Complexity: "Depends on subcommand.",
			Session:    true,
			Subcommands: []*Row{
				{
					Name: "latency|doctor", Arity: 2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
					Group: "server", Since: "2.8.13",
					Tips:       []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"},
					Summary:    "Return a human readable latency analysis report.",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "latency|graph", Arity: 3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
					Group: "server", Since: "2.8.13",
					Tips:       []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"},
					Summary:    "Return a latency graph for the event.",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "latency|help", Arity: 2, Flags: FlagLoading | FlagStale,
					Group: "server", Since: "2.8.13",
					Summary:    "Show helpful text about the different subcommands.",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "latency|histogram", Arity: -2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
					Group: "server", Since: "7.0.0",
					Tips:       []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"},
					Summary:    "Return the cumulative distribution of latencies of a subset of commands or all.",
					Complexity: "O(N) where N is the number of commands with latency information being retrieved.",
					Session:    true,
				},
				{
					Name: "latency|history", Arity: 3, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
					Group: "server", Since: "2.8.13",
					Tips:       []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"},
					Summary:    "Return timestamp-latency samples for the event.",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "latency|latest", Arity: 2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
					Group: "server", Since: "2.8.13",
					Tips:       []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"},
					Summary:    "Return the latest latency samples for all events.",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "latency|reset", Arity: -2, Flags: FlagAdmin | FlagNoScript | FlagLoading | FlagStale,
					Group: "server", Since: "2.8.13",
					Tips:       []string{"request_policy:all_nodes", "response_policy:all_succeeded"},
					Summary:    "Reset latency data for one or more events.",
					Complexity: "O(1)",
					Session:    true,
				},
			},
		},
		{
			Name: "memory", Arity: -2,
			Group: "server", Since: "4.0.0",
			Summary:    "A container for memory diagnostics commands",
			Complexity: "Depends on subcommand.",
			Session:    true,
			Subcommands: []*Row{
				{
					Name: "memory|doctor", Arity: 2,
					Group: "server", Since: "4.0.0",
					Tips:       []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
					Summary:    "Outputs memory problems report",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "memory|help", Arity: 2, Flags: FlagLoading | FlagStale,
					Group: "server", Since: "4.0.0",
					Summary:    "Show helpful text about the different subcommands",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "memory|malloc-stats", Arity: 2,
					Group: "server", Since: "4.0.0",
					Tips:       []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
					Summary:    "Show allocator internal stats",
					Complexity: "Depends on how much memory is allocated, could be slow",
					Session:    true,
				},
				{
					Name: "memory|purge", Arity: 2,
					Group: "server", Since: "4.0.0",
					Tips:       []string{"request_policy:all_shards", "response_policy:all_succeeded"},
					Summary:    "Ask the allocator to release memory",
					Complexity: "Depends on how much memory is allocated, could be slow",
					Session:    true,
				},
				{
					Name: "memory|stats", Arity: 2,
					Group: "server", Since: "4.0.0",
					Tips:       []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
					Summary:    "Show memory usage details",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "memory|usage", Arity: -3, Flags: FlagReadonly,
					Keys:  []KeySpec{{Flags: KeyRO, First: 2, Last: 0, Step: 1}},
					Group: "server", Since: "4.0.0",
					Summary:    "Estimate the memory usage of a key",
					Complexity: "O(N) where N is the number of samples.",
					Read:       memoryUsage,
				},
			},
		},
		{
			Name: "slowlog", Arity: -2,
			Group: "server", Since: "2.2.12",
			Summary:    "A container for slow log commands",
			Complexity: "Depends on subcommand.",
			Session:    true,
			Subcommands: []*Row{
				{
					Name: "slowlog|get", Arity: -2, Flags: FlagAdmin | FlagLoading | FlagStale,
					Group: "server", Since: "2.2.12",
					Tips:       []string{"request_policy:all_nodes", "nondeterministic_output"},
					Summary:    "Get the slow log's entries",
					Complexity: "O(N) where N is the number of entries returned",
					Session:    true,
				},
				{
					Name: "slowlog|help", Arity: 2, Flags: FlagLoading | FlagStale,
					Group: "server", Since: "6.2.0",
					Summary:    "Show helpful text about the different subcommands",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "slowlog|len", Arity: 2, Flags: FlagAdmin | FlagLoading | FlagStale,
					Group: "server", Since: "2.2.12",
					Tips:       []string{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"},
					Summary:    "Get the slow log's length",
					Complexity: "O(1)",
					Session:    true,
				},
				{
					Name: "slowlog|reset", Arity: 2, Flags: FlagAdmin | FlagLoading | FlagStale,
					Group: "server", Since: "2.2.12",
					Tips:       []string{"request_policy:all_nodes", "response_policy:all_succeeded"},
					Summary:    "Clear all entries from the slow log",
					Complexity: "O(N) where N is the number of entries in the slowlog",
					Session:    true,
				},
			},
		},
	}
}

// How many pages of a string MEMORY USAGE looks at if it is not told, and at most: they are in memory together.
const (
	sampledPages    = 5
	maxSampledPages = 4096
)

// memoryUsage is MEMORY USAGE key [SAMPLES count].
func memoryUsage(q *Query) error {
	samples := int64(sampledPages)
	for i := 3; i < len(q.Args); i += 2 {
		if !is(q.Args[i], "samples") || i+1 == len(q.Args) {
			return ErrSyntax
		}
		n, err := intArg(q.Args[i+1])
		if err != nil {
			return err
		}
		if n < 0 {
			return ErrSyntax
		}
		if samples = n; n == 0 || n > maxSampledPages {
			samples = maxSampledPages
		}
	}
	key, err := q.metaKey(q.Args[2])
	if err != nil {
		return err
	}
	m, err := types.Lookup(q.data, key, q.Now)
	if err != nil {
		return err
	}
	if !m.Exists {
		q.W.Null()
		return nil
	}
	bytes, err := types.Usage(q.data, key, &m, int(samples))
	if err != nil {
		return err
	}
	q.W.Int(bytes)
	return nil
}
