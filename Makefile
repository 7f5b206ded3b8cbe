# Builds, demonstrates and checks nanobpe and nanotrain; `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
# Files and folders that the demo reads; without any, the standard library's own sources.
DATA ?=

VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Cargo would look for the job slots of a parallel make, which are not passed on to it.
CARGO := env -u MAKEFLAGS cargo
# An environment lasts while the interpreter and the files that say what is in it are the same.
MADE_OF := $(shell { $(PYTHON) -V; cat pyproject.toml constraints*.txt; } 2>&1 | cksum | cut -d' ' -f1)
TOOLS := $(VENV)/tools-$(MADE_OF)
EXTRAS := $(VENV)/extras-$(MADE_OF)

.PHONY: help demo test test-oldest test-arm rust lint types pytest wheel install fuzz bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Modules and those one folder below, 9 MB: without tests, site-packages and the tables of encodings.
STDLIB = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
INPUT = $(or $(DATA),'$(STDLIB)/*.py' '$(STDLIB)/[!est]*/*.py')
# A plain text is one document; its paragraphs are many, so that some can be held out.
DOCUMENTS = $(if $(filter %.txt %.md,$(DATA)),--split-on $$'\n\n')

demo: install ## Text to tokenizer to shards to a trained model; DATA=path... for your own files
	@rm -rf demo/tok demo/shards demo/run
	$(BIN)/nanobpe train $(INPUT) $(DOCUMENTS) --vocab 4096 --out demo/tok
	$(BIN)/nanobpe encode $(INPUT) $(DOCUMENTS) --tok demo/tok --bos --split 0.8,0.1,0.1 --out demo/shards
	$(BIN)/nanotrain run cpu-demo --data demo/shards --out demo/run
	$(BIN)/nanotrain sample demo/run --max 100
	$(BIN)/nanotrain report demo/run

test: ## All tests, lint and type checks
	@# Compilers run while the packages are downloaded; what measures time runs alone.
	@$(MAKE) --no-print-directory --jobs 2 rust install
	@$(MAKE) --no-print-directory lint types pytest

rust: ## Rust: format, lint, tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --quiet --all-targets -- -D warnings
	$(CARGO) clippy --locked --quiet --all-targets --features python -- -D warnings
	$(CARGO) test --locked --quiet

lint: install ## Python: lint and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: install ## Python: types of both packages, and of the extension against its stub
	$(BIN)/mypy
	$(BIN)/stubtest nanobpe._core

pytest: install ## Python: tests of the installed wheel
	$(BIN)/pytest

test-oldest: ## The tests on the oldest PyTorch, Triton and NumPy supported, in .venv-oldest
	@mkdir -p target
	@# PyTorch itself pins its CUDA libraries.
	@{ grep -Ev '^(cuda|numpy|nvidia|setuptools|torch|triton)\b' constraints.txt; cat constraints-oldest.txt; } \
		> target/constraints-oldest.txt
	@$(MAKE) --no-print-directory VENV=.venv-oldest CONSTRAINTS=target/constraints-oldest.txt pytest

ARM := aarch64-unknown-linux-gnu
test-arm: ## Rust's tests for 64-bit ARM, emulated, in 10 min; with Debian's qemu-user and gcc-aarch64-linux-gnu
	rustup target add $(ARM)
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
		$(CARGO) test --locked --quiet --target $(ARM)

wheel: $(TOOLS) ## Build dist/*.whl
	@rm -f dist/*.whl
	$(BIN)/maturin build --release --locked --quiet --interpreter $(BIN)/python --out dist

install: wheel
	$(PIP) install --quiet --force-reinstall --no-deps dist/*.whl
	@[ -e $(EXTRAS) ] || { set -x; $(PIP) install --quiet -c $(CONSTRAINTS) "$$(echo dist/*.whl)[train,report,dev]"; }
	@touch $(EXTRAS)

$(TOOLS):
	@command -v cargo > /dev/null || { echo "error: cargo is not found; allowed: Rust 1.89 or newer" >&2; \
		echo "hint: https://rustup.rs installs it" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "error: $(PYTHON) is not Python 3.10 or newer" >&2; \
		echo "hint: name another one, such as PYTHON=python3.12" >&2; exit 1; }
	@[ "$$($(BIN)/python -V 2>&1)" = "$$($(PYTHON) -V)" ] || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $(VENV)/tools-* $(VENV)/extras-*
	$(PIP) install --quiet -c $(CONSTRAINTS) maturin
	@touch $@

FUZZ := target/fuzz
# Coverage without sanitizers is what stable Rust can do; debug assertions are on.
FUZZER := PATH="$(CURDIR)/$(FUZZ)/bin:$$PATH" $(CARGO) fuzz
FUZZED := --fuzz-dir rust/fuzz --target-dir $(FUZZ) --sanitizer none

fuzz: ## Fuzz scanners, regexes, loaders and training for 60 s each; what is found stays in rust/fuzz/artifacts
	@[ -x $(FUZZ)/bin/cargo-fuzz ] || $(CARGO) install --quiet --locked --root $(FUZZ) cargo-fuzz@0.13.2
	$(FUZZER) build $(FUZZED)
	for target in scanners regexes loaders training; do \
		$(FUZZER) run $(FUZZED) $$target -- -max_total_time=60 -max_len=4096 -len_control=20 \
			-timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512; done

bench: install ## Benches beside their peers, into benches/README.md
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet -c $(CONSTRAINTS) -r benches/requirements.txt
	@# The trainer's peer needs PyTorch, which is not installed twice.
	$(PIP) install --quiet -c $(CONSTRAINTS) "$$(echo dist/*.whl)[hf]"
	for bench in bpe_train bpe_growth progress bpe_encode shards; do \
		$(BIN)/python benches/$$bench.py --peers .venv-bench/bin/python; done
	$(BIN)/python benches/train_step.py

clean: ## Remove what the targets made, environments too
	rm -rf .venv .venv-oldest .venv-bench dist demo target rust/fuzz/artifacts rust/fuzz/corpus
