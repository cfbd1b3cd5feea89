# Fourgate: `make help` lists what there is. A fresh machine needs Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
UV_VERSION := uv>=0.9,<1
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
UV := $(or $(shell command -v uv),$(TOOLS)/bin/uv)
STAMP := $(VENV)/.synced
HISTORY ?=
SECONDS_LONG ?= 60

.DEFAULT_GOAL := help
.PHONY: help setup run stop status test unit check fuzz bench format docs clean browser

help: ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n\033[1m%s\033[0m\n", substr($$0, 4)} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

## Use it
run: setup ## set up, take a history to the results table through Airflow, sum up  [HISTORY=<folder>]
	@$(BIN)/fourgate run $(if $(HISTORY),"$(HISTORY)")

stop: ## end every process of the stack, whatever state it is in
	@if [ -x $(BIN)/fourgate ]; then $(BIN)/fourgate down; else echo "nothing was set up, so nothing runs"; fi

status: setup ## show champions, verdicts and top predictions
	@$(BIN)/fourgate status

## Work on it
setup: $(STAMP) ## install the locked environment into .venv

$(STAMP): pyproject.toml uv.lock | $(UV)
	@$(UV) sync --locked --quiet
	@touch $(STAMP)

$(TOOLS)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Fourgate needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(TOOLS) || { echo "python3 -m venv failed: on Debian install python3-venv, or install uv yourself"; exit 1; }
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check '$(UV_VERSION)'

test: setup browser ## every test: unit, integration and the whole stack
	@$(UV) sync --locked --quiet --group spark
	@$(BIN)/python -m pytest

unit: setup ## the quick tests only
	@$(BIN)/python -m pytest -m "not integration and not e2e"

check: setup ## style, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(UV) lock --check --quiet

fuzz: setup ## feed mutated reports, manifests and archives to the readers  [SECONDS_LONG=60]
	@$(UV) sync --locked --quiet --group fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS_LONG)

bench: setup ## benchmarks against named peers; prints ratios, writes benchmarks/results/*.json
	@$(UV) sync --locked --quiet --group spark
	@$(BIN)/python -m benchmarks

format: setup ## format the code and write the generated pages
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@$(BIN)/python -m ml.generated

browser:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } \
	  || echo "no chromium here: the browser tests will be skipped (Debian: apt-get install chromium)"

clean: stop ## stop the stack and remove the environment and all local state
	@rm -rf $(VENV) $(TOOLS) .fourgate .mypy_cache .ruff_cache .pytest_cache
