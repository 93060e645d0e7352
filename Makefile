# `make install` once, then `make check`: everything .ci/run checks. PYTHON picks the interpreter (a virtual environment's).
PYTHON ?= python
BIN = $(dir $(shell $(PYTHON) -c 'import sys; print(sys.executable)'))

.PHONY: install check lint types contracts size test

install:
	$(PYTHON) -m pip install -c constraints.txt '.[test]'

check: lint types contracts size test

lint:
	$(BIN)ruff check .
	$(BIN)ruff format --check .

types:
	$(BIN)pyright --pythonpath $(BIN)python

contracts:
	$(BIN)lint-imports --no-cache

size:
	$(PYTHON) tools/size_budget.py src tests benchmarks tools

test:
	$(PYTHON) -m pytest -n auto
