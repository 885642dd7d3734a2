# A fresh clone needs nothing but Python 3.11+ and make: every target sets up .venv first, once.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
SLOW := slow or cluster or browser or gpu
# A file's tests stay in one process, since they share servers and finished sweeps.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile
# Slow tests wait for servers and leases part of the time: three at once keep two cores busy.
PARALLEL_SLOW := $(subst logical,$(if $(filter 1 2,$(shell getconf _NPROCESSORS_ONLN)),3,logical),$(PARALLEL))

.PHONY: help setup demo bench test fast chaos fuzz audit release lint format hooks

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

setup: $(STAMP) ## Make .venv with the exact versions of constraints.txt

# Only a change of pyproject.toml or constraints.txt installs again. torch comes first, by its exact pin,
# so that whatever build of it the machine is set up for stays, and nothing pulls in another one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "constraints.txt pins versions that need Python 3.11 or newer; $(PYTHON) is" \
	         "$$($(PYTHON) --version 2>&1). Say: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; about 2 GB, a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet "$$(grep '^torch==' constraints.txt)" -c constraints.txt
	@$(PIP) install --quiet -c constraints.txt -e '.[dev,export,server]'
	@touch $@

demo: $(STAMP) ## Run the whole experiment on generated scans, about 5 minutes on 2 cores
	@$(BIN)/dwp-sweep demo

bench: $(STAMP) ## Measure steps, bounds and schedules on this machine, a few minutes; NAMES="load scale": these
	@$(BIN)/python -m tests.benchmarks $(NAMES)

test: $(STAMP) ## Run all tests, the fast ones first
	$(BIN)/python -m pytest -q $(PARALLEL) -m "not ($(SLOW) or chaos)"
	$(BIN)/python -m pytest -q $(PARALLEL_SLOW) -m "($(SLOW)) and not chaos"

fast: $(STAMP) ## Run the fast tests, under 2 minutes
	$(BIN)/python -m pytest -q -x $(PARALLEL) -m "not ($(SLOW) or chaos)"

chaos: $(STAMP) ## Break sweeps at seeded moments, about 15 minutes
	$(BIN)/python -m pytest -q --durations=20 -m chaos tests/chaos

fuzz: $(STAMP) ## Try new damaged files, 5000 of each kind, about 10 minutes; EXAMPLES=20000: so many
	FUZZ_EXAMPLES=$(or $(EXAMPLES),5000) $(BIN)/python -m pytest -q $(PARALLEL) --timeout 3600 -m slow tests/security

lint: $(STAMP) ## Check format, style, types and the layers of the package
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code and fix what can be fixed without a thought
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(STAMP) ## Look the pinned versions up among known vulnerabilities (needs the package index)
	@$(PIP) install --quiet pip-audit || { echo "nothing was audited: pip-audit cannot be installed" >&2; exit 2; }
	@$(BIN)/python deploy/audit.py

release: ## Build the wheel and check it in a new environment: dist/ (TAG=--tag: tag it as well)
	PYTHON=$(PYTHON) deploy/release.sh $(TAG)

hooks: $(STAMP) ## Install the checks of `make lint` as a git hook (needs pre-commit)
	pre-commit install
