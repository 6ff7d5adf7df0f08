// Package config holds sett's settings: one table of all keys, which the file, --set, CONFIG GET, CONFIG SET and
// CONFIG REWRITE share.
//
//   - Every setting is a row of the table (settings.go for those that do something, redis.go for Redis parameters that
//     do not). config.toml and docs/configuration.md are generated from it and a test keeps them equal.
//   - A key that has a meaning has its effect. What cannot be changed while the server runs is refused, and so is a live
//     key that nobody has registered for (OnChange); a Redis parameter whose silent acceptance would break a promise,
//     such as requirepass, is refused too. What is merely remembered says so in the documentation.
//   - CONFIG SET is all or nothing: every value is parsed and every hook has agreed before the first one is stored.
//   - CONFIG REWRITE never leaves a file that would load differently from what the server runs with.
//
// A Config may be used by any goroutine. Hooks run on the goroutine that calls Set, one Set at a time; they may call
// getters, but not Set or Rewrite.
package config
