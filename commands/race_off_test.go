//go:build !race

package commands

const defaultSteps = 6000
