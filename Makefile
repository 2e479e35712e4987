# `make run` and `make test` need Go and nothing else. `make help` lists the rest.

.DEFAULT_GOAL := help
.PHONY: help run build generate test test-root check fuzz bench bench-compare clean

# sudo usually drops Go from PATH.
export PATH := $(PATH):/usr/local/go/bin

# A checkout that belongs to somebody else can still be built and run.
BIN := $(shell if mkdir -p bin 2>/dev/null && [ -w bin ]; then echo bin; \
	else echo "$${XDG_CACHE_HOME:-$$HOME/.cache}/xrudp/bin"; fi)

# Stamping needs git, and a checkout that git trusts.
GOBUILD := go build -buildvcs=false

# bpf2go.go names the compiler; nothing else may.
CLANG := $(shell sed -n 's/^.*-cc \(clang-[0-9]*\) .*$$/\1/p' bpf2go.go | head -n 1)
STRIP := $(shell sed -n 's/^.*-strip \(llvm-strip-[0-9]*\) .*$$/\1/p' bpf2go.go | head -n 1)

GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

PKGS      ?= ./...
TESTFLAGS ?=
ARGS      ?=
BENCH     ?= .
COUNT     ?= 10
BASE      ?= HEAD~1
FUZZTIME  ?= 20s

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  make run ARGS="--loss 5%"           passes arguments to xrudp run'
	@echo '  make test PKGS=./userspace/wire     one package'
	@echo '  make bench-compare BASE=v0.1.0      against another commit'

run: build ## A server, bots and a report: over XDP as root, over sockets otherwise
	@exec $(BIN)/xrudp run $(ARGS)

build: ## xrudpd and xrudp, into bin/
	@$(GOBUILD) -o $(BIN)/ ./cmd/...

generate: ## Compile bpf/, write the Go bindings and codecs (needs clang and libbpf headers)
	@missing=; \
	command -v $(CLANG) >/dev/null || missing="$$missing $(CLANG)"; \
	command -v $(STRIP) >/dev/null || missing="$$missing $(subst llvm-strip,llvm,$(STRIP))"; \
	[ -e /usr/include/bpf/bpf_helpers.h ] || missing="$$missing libbpf-dev"; \
	[ -e /usr/include/linux/bpf.h ] || missing="$$missing linux-libc-dev"; \
	if [ -n "$$missing" ]; then \
		echo "generate: missing:$$missing"; \
		echo "generate: on Debian and Ubuntu: apt install$$missing"; \
		exit 1; \
	fi
	@go generate ./...

test: ## Every test; as root also those that attach XDP programs
	@if [ "$$(id -u)" = 0 ]; then \
		echo "test: running as root: with XDP and network namespaces where the kernel has them"; \
	else \
		echo "test: running as $$(id -un): without XDP and network namespaces, which need root"; \
	fi
	@go test $(TESTFLAGS) $(PKGS)

test-root: ## As root: every test, and one that skips for want of XDP fails
	@[ "$$(id -u)" = 0 ] || { echo "test-root: needs root"; exit 1; }
	@XRUDP_REQUIRE_XDP=1 go test -count=1 $(TESTFLAGS) $(PKGS)

check: ## gofmt, vet, linters, clang-format, shellcheck
	@.ci/check $(GOLANGCI_LINT)

fuzz: ## Every fuzz target for FUZZTIME each
	@.ci/fuzz $(FUZZTIME) $(PKGS)

bench: ## Go benchmarks, COUNT times each; BENCH selects
	@echo "kernel: $$(uname -sr)"
	@go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $(PKGS)

bench-compare: ## Go benchmarks of BASE and of this tree, compared by benchstat
	@.ci/bench-compare $(BASE) '$(BENCH)' $(COUNT) $(PKGS)

clean: ## Remove what build and the scripts wrote
	@rm -rf $(BIN) .cache
