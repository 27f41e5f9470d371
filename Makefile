# Everything runs in .venv, which is made on first use. PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: run install test test-slow check lint types docs format benchmark torture results clean

run: $(INSTALLED)  ## SCAN on the digits, the default method and data
	$(BIN)/python -m clusterlab

install: $(INSTALLED)  ## the environment in .venv, and no more

test: $(INSTALLED)  ## all tests but the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal  # two processes of one thread each

test-slow: $(INSTALLED)  ## the slow tests: minutes each
	$(BIN)/python -m pytest -m slow

check: lint types test  ## what CI runs

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy

docs: $(INSTALLED)  ## the documentation as a site, site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(INSTALLED)  ## mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

benchmark: $(INSTALLED)  ## this pipeline beside the plain way to do the same work, 15 minutes
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/all_rows.py

torture: $(INSTALLED)  ## kills, full disks, damage, bad and hostile input: what docs/reliability.md tells of, in about an hour
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/reliability.py --kills 50

results: $(INSTALLED)  ## the pages with the figures of benchmarks/results
	$(BIN)/python benchmarks/write_pages.py

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:  ## remove the environment; outputs/ stays
	rm -rf .venv
