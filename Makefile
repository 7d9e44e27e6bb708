# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.PHONY: mutants venv demo test test-slow test-faults test-atproto lint format bench docs clean

venv: $(STAMP)

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "likewise needs Python 3.11 or later: make PYTHON=python3.11")'
	@echo "likewise: installing the pinned packages into $(VENV): 3 GB on disk, 2-5 minutes;"
	@echo "  on Linux the usual torch brings CUDA, 7 GB more: the README says how to do without"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: venv
	@$(BIN)/python -m infra.demo

# One process a core of a small machine, each with one thread: more of either only wait for each
# other. A file's tests stay together, as they share their studies.
test: venv
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

test-slow: venv
	$(BIN)/pytest -m slow

test-faults: venv
	$(BIN)/pytest -s -m faults tests/faults

test-atproto: venv
	$(BIN)/python -m infra.atproto $(BIN)/pytest -m atproto tests/atproto

mutants: venv
	$(BIN)/python -m infra.mutants

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv
	$(BIN)/python -m benchmarks

docs: venv
	$(BIN)/python -m likewise.documentation

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
