# `make` alone shows what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 10s
SOAKTIME ?= 1h
CHAOSTIME ?= 30m
CHAOS_FSYNC ?= everysec always
PORT ?= 6379
CLUSTER_DATA ?= data-cluster

.PHONY: help run cluster build release test vet lint race planted e2e bench bench-space profile gobench fuzz soak chaos docs suites clean

help: ## show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 12

run: build ## build and start the server with config.toml, data in ./data
	./sett --config config.toml

cluster: build ## three nodes on this machine: clients at 7001-7003, data in ./data-cluster; Ctrl-C stops them all
	@nodes=(); trap 'kill "$${nodes[@]}" 2>/dev/null || true; wait; exit 0' TERM; \
	trap 'wait; exit 0' INT; : 'Ctrl-C reaches the nodes as well'; \
	for n in 1 2 3; do \
		mkdir -p $(CLUSTER_DATA)/$$n; \
		./sett --set port=700$$n --set metrics_listen=127.0.0.1:720$$n --set dir=$(CLUSTER_DATA)/$$n --set cluster.listen=127.0.0.1:710$$n \
			--set 'cluster.peers=127.0.0.1:7101 127.0.0.1:7102 127.0.0.1:7103' --set cluster.secret=of-this-machine $(CLUSTER_SETS) \
			> >(trap '' INT; sed -u "s/^/node $$n  /") 2>&1 & \
		nodes+=($$!); \
	done; wait

build: ## build ./sett, one static binary
	CGO_ENABLED=0 go build -trimpath $(PGO) -ldflags '-X main.version=$(VERSION)' -o sett .

release: PGO := -pgo=bench/sett.pgo
release: build ## the same, and the compiler is told what it will be doing: up to 8 % less CPU a command; takes minutes

test: vet lint ## go vet, staticcheck, all tests, and all but e2e again under the race detector
	go test -timeout 8m ./...
	$(MAKE) --no-print-directory race

vet:
	go vet ./...

lint: ## gofmt and staticcheck
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	go run $(STATICCHECK) ./...

race: ## all tests but e2e, whose servers are processes of their own, under the race detector (needs gcc); what one goroutine does alone takes fewer steps
	CGO_ENABLED=1 go test -race -short -timeout 15m $$(go list ./... | grep -v /e2e/)

planted: ## prove that the harnesses can fail: each planted bug must be caught (SHORT=-short: all but two, which take minutes)
	go test -tags planted $(SHORT) -count=1 -timeout 30m -run 'Planted' ./storage ./replication/wal ./e2e/powercut ./e2e/chaos

e2e: build ## only the end-to-end tests, without the test cache
	@if [ -d e2e ]; then go test -count=1 -timeout 15m ./e2e/...; else echo "there is no e2e folder"; fi

bench: build ## sett beside Redis (40 min); a first answer in two: make bench BENCH='-rounds 1 -seconds 3'
	go run ./bench compare $(BENCH)

bench-space: build ## whether the space of dead data comes back (hours); a quick look: make bench-space BENCH='-scale 0.05'
	go run ./bench space $(BENCH)

profile: build ## record anew what a sett spends its time on, for `make release` (2 min)
	go run ./bench profile

gobench: ## the Go benchmarks of all rooms
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## every fuzz test for FUZZTIME (default 10s) each
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

docs: ## write the generated files anew: config.toml, docs/configuration.md, docs/commands.md, docs/metrics.md
	go test ./config -run 'TestSettings' -update
	go test ./commands -run TestCommandsPage -update
	go test ./server -run TestMetricsDocs -update

soak: ## an hour of every job of compaction/ at its most aggressive, under the race detector, against a model (SOAKTIME=1h)
	SOAKTIME=$(SOAKTIME) CGO_ENABLED=1 go test -race -count=1 -timeout 0 -v -run TestSoak ./compaction

chaos: ## three nodes under load for an hour, a fault every few seconds, and porcupine's verdict (half of it each: CHAOSTIME=30m, CHAOS_FSYNC='everysec always')
	for level in $(CHAOS_FSYNC); do CHAOSTIME=$(CHAOSTIME) CHAOS_FSYNC=$$level go test -count=1 -timeout 0 -v -run 'TestChaos$$' ./e2e/chaos; done

suites: ## run the compatibility suites in SUITES=folder against a server on PORT (default 6379)
	@if [ ! -d "$(SUITES)" ]; then echo "no suites: make suites SUITES=folder with resp-fuzz.sh and redis-tcl.sh"; exit 0; fi; \
	for suite in resp-fuzz.sh "redis-tcl.sh"; do \
		if [ ! -x "$(SUITES)/$$suite" ]; then echo "skipped: $$suite is not there"; continue; fi; \
		echo "== $$suite"; \
		case $$suite in \
			redis-tcl.sh) "$(SUITES)/$$suite" 127.0.0.1 $(PORT) "$$(mktemp -d)" ;; \
			*) "$(SUITES)/$$suite" 127.0.0.1 $(PORT) ;; \
		esac; \
	done

clean: ## remove what was built; ./data stays
	rm -rf sett bench/out
