# Muniment: everything that is run, by name. `make` alone prints the list.
#
# A fresh machine needs Python >= 3.11 and make: no root, no containers, no account. Whatever else is
# needed comes into .venv from the hashed locks in requirements/.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Every file has to be the one that was locked.
LOCKED := install --require-hashes

# uv compiles for all platforms at once; no address of an index gets into a lock.
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
           --no-emit-find-links --no-annotate --custom-compile-command 'make lock' --upgrade

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

.PHONY: help
help:  ## print this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- the environment ---------------------------------------------------------------------------

.PHONY: venv
venv: $(VENV)/.dev  ## set up .venv from the hashed lock (all others do it by themselves)

# A .venv whose Python is gone (a move, an upgrade of the system) is made anew.
ifneq ($(shell $(BIN)/python -c 'import pip' 2>&1 || echo broken),)
.PHONY: $(VENV)/.dev $(VENV)/.deep $(VENV)/.bench
$(VENV)/.dev: python
endif
.PHONY: python
python:
	@sh requirements/check-python.sh '$(PYTHON)'
	@'$(PYTHON)' -m venv --clear $(VENV)

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	@echo 'setting up $(VENV) (about a minute the first time)'
	@$(PIP) $(LOCKED) --requirement requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.deep: requirements/deep.txt requirements/auditor.txt $(VENV)/.dev
	@$(PIP) $(LOCKED) --requirement requirements/deep.txt
	@$(PIP) $(LOCKED) --no-deps --ignore-requires-python --requirement requirements/auditor.txt
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.dev
	@$(PIP) $(LOCKED) --requirement requirements/bench.txt
	@touch $@

# --- the two commands --------------------------------------------------------------------------

.PHONY: demo
demo: $(VENV)/.dev  ## the whole story on a real PostgreSQL, ending in offline verification
	@$(BIN)/muniment demo

.PHONY: test
test: $(VENV)/.dev  ## the tests that any machine can run (under 5 minutes)
	$(BIN)/python -m pytest -rs -m 'not deep' --numprocesses=auto --maxprocesses=4 --dist=loadfile

# --- the rest ----------------------------------------------------------------------------------

.PHONY: test-deep
test-deep: $(VENV)/.deep  ## fault sweeps, foreign judges, scenarios (under 20 minutes)
	$(BIN)/python -m pytest -rs -m 'deep and not alone' --numprocesses=auto --maxprocesses=4 --dist=loadfile
	$(BIN)/python -m pytest -rs -m 'deep and alone'

.PHONY: lint
lint: $(VENV)/.dev  ## style, types and the order of the rooms
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: check
check: lint test  ## lint and test: what has to pass before a change is sent

.PHONY: bench
bench: $(VENV)/.bench  ## figures beside their yardsticks (at most 10 minutes)
	$(BIN)/python -m bench

.PHONY: bench-full
bench-full: $(VENV)/.bench  ## the same, with the runs over millions of rows
	$(BIN)/python -m bench --full

.PHONY: lock
lock: $(VENV)/.dev  ## renew the locks in requirements/ from pyproject.toml and *.in
	@test -x $(BIN)/uv || $(PIP) $(LOCKED) --requirement requirements/lock.txt
	@$(COMPILE) --python-version 3.11 requirements/lock.in -o requirements/lock.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra postgresql --extra demo --extra scim --extra notices --extra s3 \
	  --extra syslog --extra calendars --extra sigma --group dev \
	  -o requirements/dev.txt
	@$(COMPILE) --python-version 3.11 pyproject.toml --extra postgresql --extra scim --extra notices --extra s3 \
	  --extra syslog --extra calendars --extra sigma --constraint requirements/dev.txt -o requirements/run.txt
	@$(COMPILE) --python-version 3.11 requirements/deep.in \
	  --constraint requirements/dev.txt -o requirements/deep.txt
	@$(COMPILE) --python-version 3.11 requirements/bench.in \
	  --constraint requirements/dev.txt -o requirements/bench.txt
	@$(COMPILE) --python-version 3.12 requirements/auditor.in --no-deps -o requirements/auditor.txt
	@wc -l requirements/*.txt

.PHONY: clean
clean:  ## remove .venv and all that tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
	find src tests -type d -name __pycache__ -exec rm -rf {} +
