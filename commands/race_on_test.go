//go:build race

package commands

// defaultSteps are fewer where each takes ten times as long: what the race detector can find it finds in few.
const defaultSteps = 1500
