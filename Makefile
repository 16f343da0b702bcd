# Everything sets itself up: a fresh machine needs only Python 3.10 or newer, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# dask.distributed, which has our import name
PEER := .venv-peer

# How long to hunt, and how long the storms last
MINUTES ?= 30

.PHONY: help demo demo-arrays demo-dataframes test check lint bench bench-collections hunt chaos mutants clean

help:
	@echo "make demo               count the words of Python's own library on a cluster"
	@echo "make demo-arrays        a stack of images, with dask arrays"
	@echo "make demo-dataframes    a week of measurements, with dask dataframes"
	@echo "make test               format, lint, types, and all tests: what CI runs"
	@echo "make lint               the first three of these"
	@echo "make bench              our speed beside bare sockets and a process pool"
	@echo "make bench-collections  dask's collections, beside dask.distributed and dask's threads"
	@echo "make hunt MINUTES=30    look for lost work in a simulated cluster, with fresh seeds"
	@echo "make chaos MINUTES=30   kill, stop and cut the processes of a real one, while it works"
	@echo "make mutants            whether that finds deliberate bugs"
	@echo "make clean              remove what the others made"

demo: $(VENV)/installed
	$(BIN)/python examples/wordcount.py

demo-arrays: $(VENV)/installed-collections
	$(BIN)/python examples/arrays.py

demo-dataframes: $(VENV)/installed-collections
	$(BIN)/python examples/dataframes.py

test: lint
	$(BIN)/python -m pytest

check: test

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.run

bench-collections: $(VENV)/installed-test $(PEER)/installed
	$(BIN)/python -m benchmarks.dask_collections --peer $(PEER)/bin/python

hunt: $(VENV)/installed-test
	$(BIN)/python -m tests.sim --minutes $(MINUTES)

# The task that holds the interpreter lock does that for longer than anybody may be silent.
chaos: $(VENV)/installed-test
	CHAOS_HOLD_SECONDS=35 $(BIN)/python -m pytest tests/chaos --deselect tests/chaos/test_storm.py
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

mutants: $(VENV)/installed-test
	$(BIN)/python -m tests.sim.mutants

clean:
	rm -rf $(VENV) $(PEER) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# By pip, which comes last: an environment that was left half made is made again.
$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: setup.cfg $(VENV)/bin/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/installed-collections: setup.cfg $(VENV)/bin/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[collections]'
	touch $@ $(VENV)/installed

$(VENV)/installed-test: setup.cfg $(VENV)/bin/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/installed $(VENV)/installed-collections

# One that is left half made is made again; git, like ruff, is not to see it.
$(PEER)/installed:
	$(PYTHON) -m venv --clear $(PEER)
	echo '*' > $(PEER)/.gitignore
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check \
		distributed==2026.8.0 'dask[array,dataframe]==2026.8.0'
	touch $@
