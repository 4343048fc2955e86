# Berth. `make help` lists the targets. Everything that a target needs beyond Go it installs itself.
SHELL := /bin/bash
GO ?= go
LINT_VERSION := v2.15.0
LINT := bin/golangci-lint-$(LINT_VERSION)
FUZZTIME ?= 10s
STAMP := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help
.PHONY: help build man run lab lab-down test unit race fuzz lint bench bench-peers deps clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/berth, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X github.com/berth-project/berth/internal/cli.buildStamp=$(STAMP)" -o bin/berth ./cmd/berth

man: build ## Manual pages in bin/man; sudo cp bin/man/*.1 /usr/local/share/man/man1 installs them
	rm -rf bin/man
	SOURCE_DATE_EPOCH=$(shell git log -1 --format=%ct 2>/dev/null || echo 0) bin/berth man bin/man

run: build ## Labels -> plan -> moves on an embedded vSphere: no root, no packages, no network
	bin/berth demo

lab: build ## The same on real libvirt and QEMU: three hosts on this machine (root, Debian)
	test/lab/run bin/berth

lab-down: ## Stop the lab and delete what it made
	test/lab/scenario down

deps: ## Install what the tests need (root, Debian); without root their tests skip and say so
	test/lab/deps
	test/compat/deps
	test/oracle/deps

test: deps build ## All tests, those on real libvirt and QEMU included
	$(GO) vet ./...
	$(GO) test -timeout 20m ./...

unit: ## The tests that need no package and no root
	BERTH_NO_LAB=1 $(GO) test ./...

# A program under the race detector sleeps a second when it ends, and the scripts of test/cli start hundreds.
race: ## All tests but the lab's, and those that run one goroutine (crash, ovf), under the race detector
	BERTH_NO_LAB=1 GORACE=atexit_sleep_ms=10 $(GO) test -race -timeout 20m $$($(GO) list ./... | grep -vE '/test/(crash|ovf)$$')

fuzz: ## Each fuzz test for FUZZTIME (10s)
	@set -e; for f in $$(grep -rlE '^func Fuzz' --include='*_test.go' .); do \
	  for n in $$(grep -oE '^func Fuzz[A-Za-z0-9_]+' $$f | cut -c6-); do \
	    echo "$$(dirname $$f) $$n"; $(GO) test $$(dirname $$f) -run '^$$' -fuzz "^$$n\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x; done; done

$(LINT):
	@mkdir -p bin
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv bin/golangci-lint $@

lint: $(LINT) ## Strict lint; each suppression carries its reason
	$(LINT) run ./...

bench: ## The benchmarks, with memory
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./...

bench-peers: ## Berth beside kube-scheduler, Nomad, hail and hbal on the same fleets; about half an hour, see bench/README.md
	bench/deps
	cd bench && $(GO) run . $(PEERS)

clean: ## Remove what was built
	rm -rf bin
