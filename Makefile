# Everything sets itself up: a fresh machine needs only Python 3.10 or newer, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check lint bench clean

help:
	@echo "make demo    count the words of Python's own library on a cluster"
	@echo "make test    format, lint, types, and all tests: what CI runs"
	@echo "make lint    the first three of these"
	@echo "make bench   our speed beside bare sockets and a process pool"
	@echo "make clean   remove what the others made"

demo: $(VENV)/installed
	$(BIN)/python examples/wordcount.py

test: lint
	$(BIN)/python -m pytest

check: test

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# By pip, which comes last: an environment that was left half made is made again.
$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg $(VENV)/bin/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-test: setup.cfg $(VENV)/bin/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/installed
