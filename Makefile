# The front door. Each target installs what it needs into .venv; only cargo and Python 3.11 or newer must be there before.

PYTHON ?= python3

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# maturin refuses to choose between two environments, and cargo must see the interpreter that maturin builds for.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

RUST := Cargo.toml $(shell find rust -name Cargo.toml -o -name '*.rs')

.PHONY: help demo test lint format bench savings docs wheel label-studio clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Label real data with each strategy, and time it against NumPy
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev $(VENV)/.extension ## Run every test: Rust, Python, doctests
	cargo test --quiet --package pickwise-core
	$(BIN)/python -m pytest --doctest-modules tests python/pickwise

lint: $(VENV)/.dev $(VENV)/.extension ## Check format, lints, types and stubs; change nothing
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy --strict python/pickwise $(wildcard examples)
	$(BIN)/python -m mypy.stubtest pickwise._native

format: $(VENV)/.dev ## Rewrite the sources as `make lint` wants them
	cargo fmt --all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

SCALE ?= 1

# Where somebody has tuned OpenBLAS by hand, the rivals are timed as they come.
BENCH_ENV := $(if $(and $(OPENBLAS_CORETYPE),$(OPENBLAS_L2_SIZE)),env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE)

bench: $(VENV)/.dev $(VENV)/.extension ## Time everything against NumPy and the peers; writes docs/benchmarks/
	@mkdir -p .benchmarks
	$(BENCH_ENV) $(BIN)/python -m pytest benches --scale $(SCALE) --benchmark-columns=min,median,rounds \
		--benchmark-json=.benchmarks/engine.json
	$(BIN)/python benches/report .benchmarks/engine.json

savings: $(VENV)/.dev $(VENV)/.extension ## Simulate which strategies save labels, on ../shared/data; writes docs/benchmarks/
	$(BIN)/python benches/label_savings/page.py

docs: $(VENV)/.dev $(VENV)/.extension ## Build the Rust API pages; check the examples and links of the Markdown pages
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	$(BIN)/python -m pytest --doctest-modules python/pickwise tests/test_docs.py
	@! for page in $$(git ls-files '*.md'); do \
		grep -oP '\]\(\K[^)#:]+(?=(#[^)]*)?\))' "$$page" | while read -r link; do \
			[ -e "$$(dirname "$$page")/$$link" ] || echo "$$page: no such file: $$link"; \
		done || true; \
	done | grep .

wheel: $(VENV)/.build ## Build the wheel into dist/ and try it in a fresh environment
	rm -rf dist
	$(BIN)/maturin build --release --out dist
	ls dist/pickwise-*-cp311-abi3-*.whl
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
	$(BIN)/python -m venv "$$fresh"; \
	"$$fresh/bin/python" -m pip install --quiet --disable-pip-version-check dist/*.whl; \
	cd "$$fresh"; bin/python -W error -c 'import pickwise; print(pickwise.build_info())'

LABEL_STUDIO := .venv-label-studio

label-studio: $(VENV)/.dev $(VENV)/.extension $(LABEL_STUDIO)/.done ## Test against a real Label Studio, in an environment of its own (1 GB)
	$(BIN)/python -m pytest tests/test_label_studio.py

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) $(LABEL_STUDIO) target dist demo-output .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	rm -f python/pickwise/_native*.so
	find python tests benches examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# Stamps: a second run of a target installs and builds nothing that has not changed.
$(VENV)/.build: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("pickwise needs Python 3.11 or newer: make PYTHON=...")'
	@[ -e $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) --group build
	@touch $@

$(VENV)/.dev: $(VENV)/.build
	$(PIP) --group dev
	@touch $@

# With no group named, maturin installs all of dev.
$(VENV)/.extension: $(VENV)/.build $(RUST)
	$(BIN)/maturin develop --release --quiet --group build
	@touch $@

$(LABEL_STUDIO)/.done:
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/python -m pip install --quiet --disable-pip-version-check 'label-studio>=1.20'
	@touch $@

$(VENV)/.demo: $(VENV)/.extension
	$(BIN)/maturin develop --release --quiet --group build --extras demo
	@touch $@
