# Fourgate: `make help` lists what there is. A fresh machine needs Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= python3
UV_VERSION := uv>=0.9,<1
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
UV := $(or $(shell command -v uv),$(TOOLS)/bin/uv)
STAMP := $(VENV)/.synced
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs
HISTORY ?=
SECONDS_LONG ?= 60
DATA ?=
RENDER_ONLY ?=
ADVISORIES ?=
REQUIRE ?=
AT_ONCE := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# no secrets: a password that says "password" or "secret" is an example, and a file is where secrets belong
SECRETS := --no-verify --exclude-files '^(uv\.lock|tests/fixtures/.*)$$' --exclude-secrets '^(password|secret|cat /run/secrets/\w+)$$'

# $(call debian,command,package,what is lost without it): install a package where that can be done without asking
define debian
command -v $(1) >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) >/dev/null; } \
  || echo "no $(1) here: $(3) (Debian: apt-get install $(2))"
endef

.DEFAULT_GOAL := help
.PHONY: help setup run stop status test unit integration e2e contracts check lint types layers containers secrets audit \
  site build sbom coverage fuzz bench results \
  format hooks clean browser spark

help: ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n\033[1m%s\033[0m\n", substr($$0, 4)} /^[a-z0-9]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
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

test: spark browser ## every test: unit, integration and the whole stack
	@$(BIN)/python -m pytest -m "not e2e" $(AT_ONCE)
	@$(BIN)/python -m pytest -m e2e

unit: setup ## the quick tests only
	@$(BIN)/python -m pytest -m "not slow and not integration and not e2e" $(AT_ONCE)

integration: spark ## slow tests, and those with a real PostgreSQL and MLflow
	@$(BIN)/python -m pytest -m "(slow or integration) and not e2e" $(AT_ONCE)

e2e: setup browser ## tests of the whole stack
	@$(BIN)/python -m pytest -m e2e

contracts: setup ## data contracts, and pages and configuration held against the code
	@$(BIN)/python -m pytest tests/architecture tests/ml/validation tests/ml/test_schemas.py tests/ml/test_settings.py

check: setup lint types layers containers secrets audit site ## all that needs no test to run: style, types, layers, containers, secrets, advisories, documentation

lint: setup ## style of the code, lock file as declared, workflow and hooks of a known form
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(UV) lock --check --quiet
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[a-b]*.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/pre-commit validate-config

types: setup ## mypy --strict
	@$(BIN)/mypy

layers: setup ## imports go down
	@$(BIN)/lint-imports

containers: setup ## compose file by the official schema, Dockerfile by hadolint
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/hadolint Dockerfile.airflow

secrets: setup ## no secret in a file that git knows; an example carries `pragma: allowlist secret`
	@git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook $(SECRETS)

audit: setup ## hold every locked dependency against known advisories  [ADVISORIES=<zip>] [REQUIRE=1]
	@$(BIN)/python -m upkeep.audit $(if $(ADVISORIES),--advisories "$(ADVISORIES)") $(if $(REQUIRE),--require)

build: setup ## write the wheel into dist/
	@$(UV) build --quiet --wheel --out-dir dist

sbom: setup ## write dist/fourgate.cdx.json: every locked dependency, as CycloneDX
	@mkdir -p dist
	@$(UV) export --quiet --locked --all-groups --format cyclonedx1.5 --output-file dist/fourgate.cdx.json >/dev/null
	@echo "dist/fourgate.cdx.json"

coverage: spark ## all but the whole stack with branch coverage of ml/; at least 90 %, or it fails
	@$(BIN)/python -m pytest -m "not e2e" $(AT_ONCE) --cov --cov-report=term:skip-covered --cov-report=xml

site: setup ## the documentation, built strictly into site/
	@$(MKDOCS) build --strict

fuzz: setup ## feed mutated reports, manifests, archives and CSV to the readers  [SECONDS_LONG=60]
	@$(UV) sync --locked --quiet --group fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS_LONG)

bench: spark ## benchmarks against named peers; prints ratios, writes benchmarks/results/*.json
	@$(BIN)/python -m benchmarks

results: setup ## judge the models on real histories, write docs/results.md  [DATA=<folder>] [RENDER_ONLY=1]
	@$(BIN)/python -m experiments $(if $(DATA),"$(DATA)") $(if $(RENDER_ONLY),--render-only)

docs: setup ## serve the documentation on http://127.0.0.1:8000 and build it again when a page changes
	@$(MKDOCS) serve --strict

format: setup ## format the code and write the generated pages
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .
	@$(BIN)/python -m ml.generated

hooks: setup ## let git run the quick part of `make check` before each commit
	@$(BIN)/pre-commit install

spark: setup
	@$(UV) sync --locked --quiet --group spark
	@$(call debian,java,default-jre-headless,Spark is not tested)

browser:
	@$(call debian,chromium,chromium,the browser tests will be skipped)

clean: stop ## stop the stack and remove the environment and all local state
	@rm -rf $(VENV) $(TOOLS) .fourgate site .mypy_cache .ruff_cache .pytest_cache
