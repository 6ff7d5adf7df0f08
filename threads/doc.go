// Package threads tells the kernel how long sett's threads want to have a processor at a time.
//
// A thread that wakes up takes a processor from one that runs if it asks for less time: the scheduler of Linux 6.12 and later (EEVDF) knows that as a
// thread's slice, 2.8 ms if nobody says anything. It changes who comes first, not how much anybody gets.
//
//   - threads that serve clients have the shortest slice there is: what they do for a command is over before;
//   - goroutines that flush, merge, remove and count have threads of their own with a long one. Otherwise a client on the same machine, or a neighbour,
//     waits for milliseconds until they have had theirs.
//
// Where there is no such thing nothing happens.
package threads
