# Every entry point of the project: people and CI call the same targets. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
# One cargo target directory for maturin, cargo test and clippy: no crate is built twice.
export CARGO_TARGET_DIR ?= $(CURDIR)/rust/target
# release, or dev for a debug build.
PROFILE ?= release
LOCKED ?= --locked
PYTEST_ARGS ?=
SERVE_ARGS ?=
FUZZ_SECONDS ?= 60
MIRI_CASES ?= 4
SOAK_SECONDS ?= 3600
SOAK_KILL_EVERY ?= 60
SOAK_RATE ?= 10000
SOAK_JSON ?= .benchmarks/soak.json
SOAK_ARGS ?=
KILLS ?= 100
CHAOS_STATE ?= .benchmarks/chaos.json
CHAOS_ARGS ?=
MILLION_ARGS ?=
# make simulate: one seed instead of fresh ones, with a deliberate fault.
SEED ?=
FAULT ?=
# Where inputs that reach new code gather; rust/fuzz/corpus holds a small selection of them.
FUZZ_FOUND = $(CARGO_TARGET_DIR)/fuzz-corpus

export PYTHON
# cargo test must build against the same Python as maturin does, or both rebuild PyO3 in turn.
export PYO3_PYTHON := $(abspath $(VENV))/bin/python
export VIRTUAL_ENV := $(abspath $(VENV))
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

NATIVE_SOURCES := $(shell find rust core_ext spec \( -name target -o -name fuzz \) -prune -o -type f -print) pyproject.toml
# The binary names the revision it was built from, so a commit is a change too.
REVISION_LOG := $(wildcard $(shell git rev-parse --git-path logs/HEAD 2>/dev/null))

RUNTIME := $(VENV)/.stamp-runtime
DEVELOP := $(VENV)/.stamp-develop
BUILT := $(VENV)/.stamp-built-$(PROFILE)
SIMULATED := $(VENV)/.stamp-simulated
MANIFEST := --manifest-path rust/Cargo.toml

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) PROFILE=$(PROFILE) PYTEST_ARGS= SERVE_ARGS="

.PHONY: serve
serve: build ## Build, then serve with as many workers as cores (SERVE_ARGS adds options)
	@exec $(VENV)/bin/imfast serve --workers "$$(nproc)" $(SERVE_ARGS)

.PHONY: build
build: $(BUILT) ## Build the native modules into .venv (PROFILE=dev: a debug build)

.PHONY: test
test: ## Everything a change must pass: lint, Rust tests, instruction counts, Python tests
	@tools/check_tools.sh test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-rust
	@$(MAKE) --no-print-directory guard
	@$(MAKE) --no-print-directory test-python

.PHONY: test-rust
test-rust: $(RUNTIME) ## cargo test of every crate
	cargo test $(MANIFEST) --workspace $(LOCKED)

.PHONY: test-python
test-python: $(DEVELOP) $(BUILT) $(SIMULATED) ## pytest (PYTEST_ARGS selects)
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

# Compares with the parent; GUARD_BASE=<revision> compares with another one.
.PHONY: guard
guard: $(RUNTIME) ## Refuse hot functions that take over 5 % more instructions
	@$(VENV)/bin/python -m tools.guard check

.PHONY: instructions
instructions: $(RUNTIME) ## Count the hot functions' instructions and store them
	$(VENV)/bin/python -m tools.guard update

.PHONY: lint
lint: lint-python lint-rust ## Formatting, lints, types, stubs

.PHONY: lint-python
lint-python: $(DEVELOP) $(BUILT)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m mypy.stubtest --allowlist tools/stubtest_allowlist.txt \
		$$($(VENV)/bin/python tools/native_modules.py)
	$(VENV)/bin/cython-lint core_ext

.PHONY: lint-rust
lint-rust: $(RUNTIME)
	cargo fmt $(MANIFEST) --all --check
	cargo clippy $(MANIFEST) --workspace --all-targets $(LOCKED) -- -D warnings
	cargo clippy $(MANIFEST) -p imfast-python -p imfast-faults --features imfast-python/simulation $(LOCKED) -- -D warnings

.PHONY: fmt
fmt: $(DEVELOP) ## Format Rust and Python in place
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format .
	cargo fmt $(MANIFEST) --all

.PHONY: bench
bench: $(DEVELOP) $(BUILT) ## Measure the core figures; they never decide whether a test passes
	@[[ $(PROFILE) == release ]] || { echo "bench measures release builds only" >&2; exit 1; }
	$(VENV)/bin/python -m pytest benchmarks -o timeout=0 --benchmark-only --durations=0 --durations-min=10 $(PYTEST_ARGS)

.PHONY: bench-full
bench-full: PYTEST_ARGS += --full --peers
bench-full: bench ## Measure everything, with peers and the plots' points

.PHONY: tuning
tuning: $(DEVELOP) $(BUILT) ## Measure what each knob does, and renew docs/tuning.md (goes on where it was)
	@[[ $(PROFILE) == release ]] || { echo "tuning measures release builds only" >&2; exit 1; }
	$(VENV)/bin/python -m benchmarks.tuning.measure
	$(VENV)/bin/python tools/tuning_page.py

# An hour; SOAK_SECONDS=300 SOAK_KILL_EVERY=45 is the short one.
.PHONY: soak
soak: $(DEVELOP) $(BUILT) ## Kill a server under load again and again; outages and availability
	@[[ $(PROFILE) == release ]] || { echo "soak measures release builds only" >&2; exit 1; }
	$(VENV)/bin/python -m benchmarks.soak --seconds $(SOAK_SECONDS) --rate $(SOAK_RATE) \
		--kill-every $(SOAK_KILL_EVERY) --json $(SOAK_JSON) $(SOAK_ARGS)

# Goes on where $(CHAOS_STATE) says that it stopped.
.PHONY: chaos
chaos: $(DEVELOP) $(BUILT) ## Kill at random moments, KILLS in all, and check every number
	$(VENV)/bin/python -m benchmarks.soak.chaos --kills $(KILLS) --state $(CHAOS_STATE) $(CHAOS_ARGS)

.PHONY: bench-million
bench-million: $(DEVELOP) $(BUILT) ## Hold a million connections on one server, and use them (MILLION_ARGS="--connections 100000")
	@[[ $(PROFILE) == release ]] || { echo "bench-million measures release builds only" >&2; exit 1; }
	$(VENV)/bin/python -m benchmarks.million --json .benchmarks/million.json $(MILLION_ARGS)

.PHONY: fuzz
fuzz: ## Fuzz every decoder and state machine, FUZZ_SECONDS each (needs nightly Rust and cargo-fuzz)
	for target in $$(cargo +nightly fuzz list --fuzz-dir rust/fuzz); do \
		mkdir -p $(FUZZ_FOUND)/$$target; \
		cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target $(FUZZ_FOUND)/$$target rust/fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1; \
	done

.PHONY: simulation
simulation: $(SIMULATED) ## Build the engine in a simulated world, for tests/simulation

.PHONY: simulate
simulate: $(DEVELOP) $(BUILT) $(SIMULATED) ## Look for lost and repeated messages under simulated crashes (SECONDS=60, SEED=, FAULT=)
	$(VENV)/bin/python -m tests.simulation.search $(if $(SEED),--seed $(SEED),--seconds $(or $(SECONDS),60)) --fault '$(FAULT)'

.PHONY: simulate-faults
simulate-faults: $(DEVELOP) $(BUILT) $(SIMULATED) ## Count the seeds that find each deliberate fault
	$(VENV)/bin/python -m tests.simulation.search --faults

# Miri interprets, about a thousand times slower than a processor: few cases of each property, loops
# bounded under cfg(miri), and of the codec's tests those beside the sources and the vectors of frames.
# Without isolation, because vectors are files. Of the partition only the module with unsafe code.
# Its processor has AVX2 where it is told so.
.PHONY: miri
miri: export MIRIFLAGS += -Zmiri-disable-isolation
miri: export PROPTEST_CASES = $(MIRI_CASES)
miri: ## Run wire, session and routes under Miri, MIRI_CASES a property (needs nightly Rust with miri)
	cargo +nightly miri test $(MANIFEST) $(LOCKED) -p imfast-session -p imfast-routes
	cargo +nightly miri test $(MANIFEST) $(LOCKED) -p imfast-wire --lib --test frames_vectors
	cargo +nightly miri test $(MANIFEST) $(LOCKED) -p imfast-partition --lib record
	RUSTFLAGS=-Ctarget-feature=+avx2 cargo +nightly miri test $(MANIFEST) $(LOCKED) -p imfast-wire --lib mask

# Left out: what measures times, memory or system calls, which the sanitizer changes; docs/unsafe.md says which.
ASAN_TESTS ?= tests/unit/core tests/unit/gateway tests/unit/worker tests/unit/client tests/property tests/end_to_end
ASAN_WITHOUT = bench chaos descriptors doctor garbage idle stalled_memory start strace takeover tuning
.PHONY: asan
asan: ## Run Python tests on native modules with AddressSanitizer (needs nightly Rust; PYTEST_ARGS adds)
	tools/asan.sh $(CARGO_TARGET_DIR)/asan $(PYTHON) $(ASAN_TESTS) \
		$(ASAN_WITHOUT:%=--ignore=tests/end_to_end/test_%.py) $(PYTEST_ARGS)

.PHONY: check-tools
check-tools: ## Name what this machine lacks, with the command that installs it
	@tools/check_tools.sh test && echo "nothing is missing"

.PHONY: clean
clean: ## Remove everything that was built, the virtual environment too
	cargo clean $(MANIFEST)
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find imfast -name '*.so' -delete
	find . -name __pycache__ -prune -exec rm -rf {} +

$(RUNTIME): pyproject.toml tools/requirements.py
	@tools/check_tools.sh build
	[[ -x $(VENV)/bin/python ]] || $(PYTHON) -m venv $(VENV)
	$(PYTHON) tools/requirements.py build runtime > $(VENV)/requirements-runtime.txt
	$(VENV)/bin/python -m pip install --quiet -r $(VENV)/requirements-runtime.txt
	@touch $@

$(DEVELOP): $(RUNTIME)
	$(PYTHON) tools/requirements.py test lint bench > $(VENV)/requirements-develop.txt
	$(VENV)/bin/python -m pip install --quiet -r $(VENV)/requirements-develop.txt
	@touch $@

$(SIMULATED): $(RUNTIME) $(NATIVE_SOURCES) tools/build_simulation.py
	$(VENV)/bin/python tools/build_simulation.py $(VENV)/simulation
	@touch $@

# The first build installs the package (editable, with its entry point); later ones replace the
# native modules in place. The other profile's stamp goes: both write the same files.
$(BUILT): $(RUNTIME) $(NATIVE_SOURCES) $(REVISION_LOG)
	@rm -f $(VENV)/.stamp-built-*
	PIP_QUIET=1 $(VENV)/bin/maturin develop --profile $(PROFILE) $(LOCKED)
	@touch $@
