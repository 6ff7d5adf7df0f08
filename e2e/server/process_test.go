package server

import (
	"os"
	"testing"

	"sett/e2e/process"
)

func TestMain(m *testing.M) { os.Exit(process.Main(m)) }
