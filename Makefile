# `make demo` sets everything up and runs the main job; `make test` runs all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test lint bench

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

lint: setup
	$(BIN)/ruff check bombus tests bench fuzz tools
	$(BIN)/mypy

test: setup lint
	$(BIN)/pytest -n 2 -q
