//go:build race

package damage

// usualTrials is fewer under the race detector, which takes its time.
const usualTrials = 20
