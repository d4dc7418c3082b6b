# Everything that one does with Quorate. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Clones may share one: CARGO_TARGET_DIR=~/somewhere make test
export CARGO_TARGET_DIR ?= $(CURDIR)/target
export QUORATE_PLUGINS ?= $(CURDIR)/target/plugins

# Each is the component of a crate, `quorate-NAME`.
PLUGINS := dkls23 dkls23-next frost-ed25519 frost-secp256k1-tr cggmp24 faulty imposter talkative
WASM := wasm32-unknown-unknown
COMMA := ,
SPACE := $(subst ,, )
IN_PLUGINS := cd plugins && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/guests
IN_SHA2_CHECK := cd plugins/sha2/check && CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/guests
PACK := $(CARGO_TARGET_DIR)/guests/debug/quorate-pack

# Where and when something was built does not show in it: parties run the same bytes, whoever built them (with the same compilers).
CARGO_HOME ?= $(HOME)/.cargo
# This folder is not among them: cargo names what is in it by relative paths, and clones go on with what others have built.
REMAP := --remap-path-prefix=$(CARGO_TARGET_DIR)=/target --remap-path-prefix=$(CARGO_HOME)=/cargo
# Beside those of plugins/.cargo/config.toml.
GUEST_FLAGS := target.$(WASM).rustflags=[$(subst $(SPACE),$(COMMA),$(foreach flag,$(REMAP),"$(flag)"))]

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup
setup: ## check the tools and add the WebAssembly target
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup, version 1.95 or later"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing (Debian: apt-get install gcc libc6-dev)"; exit 1; }
	@test -d "$$(rustc --print sysroot)/lib/rustlib/$(WASM)" || { \
	  command -v rustup >/dev/null || { echo "the Rust target $(WASM) is missing and there is no rustup to add it"; exit 1; }; \
	  echo "adding the Rust target $(WASM)"; rustup target add $(WASM); }

.NOTPARALLEL:

.PHONY: plugins
plugins: setup $(PLUGINS:%=plugin-%) ## build all components into target/plugins

# One at a time: cargo would unite the features of plugins that are built together. As a cdylib alone, because cargo does without
# link-time optimisation where it makes an rlib too, and some plugins are both.
.PHONY: $(PLUGINS:%=plugin-%)
$(PLUGINS:%=plugin-%): plugin-%: pack
	@# Two versions of a crate have one file, and cargo takes the one that it built before for up to date whichever is in it.
	@mkdir -p $(QUORATE_PLUGINS)
	@version="$$(cd plugins && cargo pkgid --offline -p quorate-$*)"; built=$(CARGO_TARGET_DIR)/guests/$*.version; \
	  if [ -e "$$built" ] && [ "$$(cat "$$built")" != "$$version" ]; then \
	    $(IN_PLUGINS) cargo clean --locked --quiet --release --target $(WASM) -p quorate-$*; fi; \
	  mkdir -p "$$(dirname "$$built")"; echo "$$version" > "$$built"
	@$(IN_PLUGINS) cargo rustc --locked --quiet --release --target $(WASM) --config '$(GUEST_FLAGS)' \
	  -p quorate-$* --lib --crate-type cdylib
	@$(PACK) $(CARGO_TARGET_DIR)/guests/$(WASM)/release/quorate_$(subst -,_,$*).wasm $(QUORATE_PLUGINS)/$*.wasm >&2

.PHONY: pack
pack: setup
	@$(IN_PLUGINS) cargo build --locked --quiet -p quorate-pack

.PHONY: proto
proto: ## generate proto/src/generated/ anew from the .proto files
	UPDATE_GENERATED=1 cargo test --locked --quiet -p quorate-generated

.PHONY: build
build: plugins ## build the host
	cargo build --locked --workspace

# The features of shared dependencies that tests need come from this crate: what a demo compiles serves `make test` too.
PROGRAM := -p quorate -p quorate-dev-features --bin quorate

.PHONY: program
program: setup
	@cargo build --locked $(PROGRAM)

# Measured on an idle machine.
.PHONY: build-time
build-time:
	@test -e $(CARGO_TARGET_DIR)/debug/quorate || \
	  echo "The first build compiles about 360 crates, besides the component: some seven minutes on two cores, less on more." >&2

.PHONY: demo
demo: build-time plugin-dkls23 plugin-dkls23-next program ## create an account and sign real transactions with it (DEMO=--json for one JSON object)
	@$(CARGO_TARGET_DIR)/debug/quorate demo $(DEMO)

.PHONY: serve
serve: plugin-dkls23 plugin-frost-ed25519 plugin-frost-secp256k1-tr program ## serve the API on port 4000, everything in one process
	$(CARGO_TARGET_DIR)/debug/quorate serve all --embedded

.PHONY: test
test: setup servers plugins ## run all tests, against real servers
	@# The structure test reads what both workspaces depend on, development included.
	cargo fetch --locked --quiet
	$(IN_PLUGINS) cargo fetch --locked --quiet
	$(IN_SHA2_CHECK) cargo fetch --locked --quiet
	@# Some tests run the program itself.
	cargo build --locked --workspace
	@# Most tests wait for processes more than they compute.
	RUST_TEST_THREADS="$${RUST_TEST_THREADS:-$$(($$(nproc) + 1))}" tests/services.sh cargo test --locked --workspace
	$(IN_PLUGINS) cargo test --locked --workspace
	$(IN_SHA2_CHECK) cargo test --locked

.PHONY: services
services: ## install the servers that tests run against (Debian, as root)
	@tests/services.sh install

# Changes nothing: it names the command that installs what is missing.
.PHONY: servers
servers:
	@tests/services.sh check

.PHONY: guards
guards: servers plugins ## take away each rule's check and expect its test to fail (GUARDS=name for one)
	tests/guards/run.sh $(GUARDS)

.PHONY: verify-demo
verify-demo: plugin-dkls23 plugin-dkls23-next program ## run the demo and verify it with an Ethereum library of another language (needs python3)
	@test -x target/venv/bin/python || python3 -m venv target/venv
	@target/venv/bin/python -m pip install --quiet --disable-pip-version-check eth-account==0.14.0
	$(CARGO_TARGET_DIR)/debug/quorate demo --json | target/venv/bin/python tests/verify_demo.py

.PHONY: examples
examples: plugin-dkls23 plugin-frost-ed25519 plugin-frost-secp256k1-tr program ## run the examples (curl, Python, TypeScript) against a server of their own
	@tests/examples.sh $(CARGO_TARGET_DIR)/debug/quorate $(QUORATE_PLUGINS)

.PHONY: lint
lint: plugins ## formatting, clippy, docs and shell scripts, warnings denied
	@if command -v shellcheck >/dev/null; then shellcheck deploy.sh deploy/*.sh tests/*.sh tests/*/*.sh examples/*/*.sh; else echo 'shellcheck is missing: scripts are not checked'; fi
	cargo fmt --all --check
	cd plugins && cargo fmt --all --check
	cd plugins/sha2/check && cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(IN_PLUGINS) cargo clippy --locked --workspace --all-targets -- -D warnings
	$(IN_SHA2_CHECK) cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="$(DOC_FLAGS)" cargo doc --locked --workspace --no-deps --document-private-items
	$(IN_PLUGINS) RUSTDOCFLAGS="$(DOC_FLAGS)" cargo doc --locked --workspace --no-deps --document-private-items

# Private items are documented too: links to them are wanted.
DOC_FLAGS := -D warnings -A rustdoc::private_intra_doc_links

.PHONY: audit
audit: ## check licences, bans, sources and advisories of all dependencies with cargo-deny (needs a network)
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	cargo deny --locked check --config deny.toml
	cd plugins && cargo deny --locked check --config ../deny.toml

NATIVE := $(CARGO_TARGET_DIR)/guests/release/examples
# Native builds have the curve arithmetic that components have, without instructions for vectors: the ratio measures the sandbox.
SERIAL := --config 'target."cfg(not(target_arch = \"wasm32\"))".rustflags=["--cfg", "curve25519_dalek_backend=\"serial\""]'

.PHONY: bench
bench: servers plugins ## measure, and write BENCHMARKS.md and BENCHMARKS.json (BENCH=name for one part)
	$(IN_PLUGINS) cargo build --locked --quiet --release $(SERIAL) -p quorate-dkls23 -p quorate-frost --examples
	cargo build --locked --quiet --release -p quorate --bin quorate
	NATIVE=$(NATIVE) \
	  tests/services.sh cargo run --locked --quiet --release -p quorate-tests --bin quorate-bench -- $(BENCH)

.PHONY: soak
soak: servers plugins ## sign for SOAK_SECONDS (600) while processes are killed at random
	cargo build --locked --quiet --release -p quorate --bin quorate
	tests/services.sh cargo run --locked --quiet --release -p quorate-tests --bin quorate-soak

DIST ?= $(CURDIR)/dist

.PHONY: dist
dist: plugins ## build what goes into the image, the same bytes wherever and whenever it is built (DIST=folder)
	@# C compilers take the time of SOURCE_DATE_EPOCH for __TIME__.
	SOURCE_DATE_EPOCH=0 RUSTFLAGS='$(REMAP)' CFLAGS='$(subst --remap-path-prefix,-ffile-prefix-map,$(REMAP))' \
	  CXXFLAGS='$(subst --remap-path-prefix,-ffile-prefix-map,$(REMAP))' \
	  cargo build --locked --profile dist -p quorate --bin quorate
	deploy/root.sh $(CARGO_TARGET_DIR)/dist/quorate $(QUORATE_PLUGINS) $(DIST)

.PHONY: compose-test
compose-test: ## build the image and run docker-compose.yml for real, on a Docker engine (starts one if it can)
	tests/compose/run.sh

.PHONY: clean
clean: ## remove everything that was built
	rm -rf target
