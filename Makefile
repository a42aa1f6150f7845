# `make demo` sets everything up and runs the main job; `make test` runs all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo setup lint test test-compiled bench

demo: setup
	$(BIN)/bombus run examples/traffic.bpf.o --pcap examples/traffic.pcap

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check
	$(BIN)/mypy

test: setup lint
	$(BIN)/pytest -n 2 --dist worksteal -q

test-compiled: setup
	BOMBUS_TEST_COMPILED=1 $(BIN)/pytest -n 0 -q tests/verifier/test_compiled.py

bench: setup
	for script in bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
