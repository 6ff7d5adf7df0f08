//go:build !powercut

package main

import "sett/storage"

// disk is where the node's own files lie.
type disk struct{ storage.OSFS }

func openDisk(string) (disk, error) { return disk{}, nil }

func (disk) watch(*storage.Options) {}

// boot names the machine's boot, if it is not the system that is to be asked.
func (disk) boot() string { return "" }
