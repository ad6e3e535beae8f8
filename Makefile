# Two commands are enough: `make demo` to see it, `make test` to trust it.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install install-dev demo up down test soak lint bench lock secrets clean
.DEFAULT_GOAL := help

help: ## say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found: install one, or say which: make PYTHON=/path/to/python"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/.python
	@echo "Installing from requirements.lock (hashes checked; one to three minutes the first time)"
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock 2> >(grep -v 'is ignored: it is neither' >&2)
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e . 2> >(grep -v 'is ignored: it is neither' >&2)
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what the tests need from requirements-dev.lock"
	@$(BIN)/pip install --quiet --no-deps --require-hashes -r requirements-dev.lock 2> >(grep -v 'is ignored: it is neither' >&2)
	@touch $@

install: $(VENV)/.installed ## make .venv from the hashed lock

install-dev: $(VENV)/.installed-dev ## the same, with the tools for tests and checks

demo: $(VENV)/.installed ## tell the story of six nights in a real Airflow (KEEP=1 leaves all running)
	@$(BIN)/gauntlet demo $(if $(KEEP),--keep)

up: $(VENV)/.installed ## start the local stack and leave it running
	@$(BIN)/gauntlet up

down: ## stop exactly what was started
	@$(BIN)/gauntlet down

test: $(VENV)/.installed-dev ## the whole test suite
	@$(BIN)/pytest -m "not soak" -n auto --dist loadfile --no-loadscope-reorder

soak: $(VENV)/.installed-dev ## the long tests
	@$(BIN)/pytest -m soak --timeout 0

lint: $(VENV)/.installed-dev ## style, types, layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## run every benchmark and write benchmarks/RESULTS.md
	@$(BIN)/python benchmarks/all.py

lock: $(VENV)/.installed-dev ## compile the locks anew from requirements*.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links requirements.txt -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links requirements-dev.txt -c requirements.lock -o requirements-dev.lock

secrets: ## write .env with strong random secrets, once
	@$(PYTHON) deploy/make_secrets.py

clean: down ## remove the environment and the demo's data
	rm -rf $(VENV) .gauntlet
