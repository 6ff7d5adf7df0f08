//go:build !race

package damage

const usualTrials = 100
