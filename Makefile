# Everything a fresh Debian or Ubuntu machine needs is installed by the targets themselves.
#   make demo       a live two-node cluster in network namespaces, broken in turn; draws out/demo/demo.svg
#   make test       lint, types, contracts, every test, 20,000 seeds of the simulation
#   make simulate SEEDS=n, make model, make side-by-side, make failpoints, make arbiter-faults, make fuzz, make histories   the slower campaigns, in full
#   make containers    compose/ on a Docker engine of its own, a few faults; make containers FAULTS=100 the campaign over all profiles
#   make bench      takeover, CPU and memory side by side with keepalived; the arbiters side by side
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 20000
OPERATIONS ?= 100000

.PHONY: demo test lint unit contract netns containers bench side-by-side failpoints arbiter-faults simulate fuzz histories model clean system

demo: $(VENV)/ready system
	$(BIN)/haagent lab demo --out out/demo

test: lint unit simulate contract netns containers

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/ready system
	scripts/run-tests --ignore=tests/netns --ignore=tests/partition --ignore=tests/contract --ignore=tests/histories tests

contract: $(VENV)/ready system
	scripts/run-tests tests/contract tests/histories

netns: $(VENV)/ready system
	scripts/run-tests tests/netns tests/partition

containers: $(VENV)/ready
	$(BIN)/python -m tests.containers $(if $(FAULTS),--faults $(FAULTS)) $(if $(PROFILES),--profiles $(PROFILES)) $(if $(SEED),--seed $(SEED))

bench: $(VENV)/ready system
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.arbiters

side-by-side: $(VENV)/ready system
	HAAGENT_FULL=1 $(BIN)/pytest -q -p no:cacheprovider tests/netns/test_dropin_side_by_side.py

failpoints: $(VENV)/ready system
	HAAGENT_FULL=1 $(BIN)/pytest -q -p no:cacheprovider tests/netns/test_agent_failpoints.py

arbiter-faults: $(VENV)/ready system
	HAAGENT_FULL=1 $(BIN)/pytest -q -s -p no:cacheprovider tests/netns/test_arbiter_faults.py

simulate: $(VENV)/ready system
	$(BIN)/python -m tests.simulation --compiled --jobs $$(nproc) --seeds $(SEEDS)

fuzz: $(VENV)/ready
	$(BIN)/python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS))

histories: $(VENV)/ready system
	$(BIN)/python -m tests.histories --operations $(OPERATIONS)

model: $(VENV)/ready system
	$(BIN)/python models/run.py --full

system:
	@scripts/install-system-packages

$(VENV)/ready: pyproject.toml scripts/install-system-packages
	@scripts/install-system-packages python
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
