# Everything sets itself up: a fresh machine needs only Python 3.10 or newer, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What we are compared with: each has a virtual environment of its own, .venv-peer-<name>.
PEERS := dask ray ipyparallel loky
PEER_dask := distributed==2026.8.0 'dask[array,dataframe]==2026.8.0'
PEER_ray := ray==2.60.0
PEER_ipyparallel := ipyparallel==9.2.0
PEER_loky := loky==3.7.0

# How long to hunt, and how long the storms last
MINUTES ?= 30

.PHONY: help demo demo-arrays demo-dataframes test test-cluster test-others check lint bench bench-peers bench-collections hunt chaos mutants clean

help:
	@echo "make demo               count the words of Python's own library on a cluster"
	@echo "make demo-arrays        a stack of images, with dask arrays"
	@echo "make demo-dataframes    a week of measurements, with dask dataframes"
	@echo "make test               format, lint, types, and all tests: what CI runs"
	@echo "make lint               the first three of these"
	@echo "make bench              our speed beside bare sockets, in about two minutes"
	@echo "make bench-peers        our speed beside others', to docs/performance.md, in an hour or two"
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

# Two lots side by side, for tests of processes wait more than they compute; then those that load does harm to.
test: lint
	$(MAKE) --jobs 2 test-cluster test-others
	$(BIN)/python -m pytest tests/chaos

test-cluster:
	$(BIN)/python -m pytest tests/cluster

test-others:
	$(BIN)/python -m pytest --ignore tests/cluster --ignore tests/chaos

check: test

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.run --rounds 2 --repeat 1

# One that cannot be installed is a column of dashes.
bench-peers: $(VENV)/installed-test
	for peer in $(PEERS); do $(MAKE) .venv-peer-$$peer/installed || true; done
	$(BIN)/python -m benchmarks.run --systems all --budget 60 --save build/bench-peers.json
	$(BIN)/python -m benchmarks.report build/bench-peers.json

bench-collections: $(VENV)/installed-test .venv-peer-dask/installed
	$(BIN)/python -m benchmarks.dask_collections

hunt: $(VENV)/installed-test
	$(BIN)/python -m tests.sim --minutes $(MINUTES)

# The task that holds the interpreter lock does that for longer than anybody may be silent.
chaos: $(VENV)/installed-test
	CHAOS_HOLD_SECONDS=35 $(BIN)/python -m pytest tests/chaos --deselect tests/chaos/test_storm.py
	$(BIN)/python -m tests.chaos --minutes $(MINUTES)

mutants: $(VENV)/installed-test
	$(BIN)/python -m tests.sim.mutants

clean:
	rm -rf $(VENV) .venv-peer .venv-peer-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

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
.venv-peer-%/installed:
	$(PYTHON) -m venv --clear .venv-peer-$*
	echo '*' > .venv-peer-$*/.gitignore
	.venv-peer-$*/bin/python -m pip install --quiet --disable-pip-version-check $(PEER_$*)
	touch $@
