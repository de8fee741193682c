# Everything here sets up what it needs: Python 3.11, git, make and a C compiler are enough to start.
# PYTHON=… names another interpreter, WORKERS=… the number of processes the tests run in.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2
CHROMIUM_WITHIN_S ?= 300
BIN := .venv/bin
STAMP := .venv/.installed
COMPILE := $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --no-strip-extras \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo serve test lint fmt types imports yaml knowledge canaries docker chromium pytest test-integration oracle pictures torture claims bench lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv with everything locked by hash (quick the second time)

$(STAMP): requirements-dev.txt pyproject.toml
	@echo "== set-up: .venv from requirements-dev.txt"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## the service with sample patients, in the browser
	@$(BIN)/cdshooks demo

serve: $(STAMP) ## the service on 127.0.0.1:8000
	@$(BIN)/cdshooks serve

test: lint types imports yaml knowledge docker chromium pytest test-integration ## everything that has to hold; what CI runs

lint: $(STAMP) ## formatting and lint
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== ruff check"
	@$(BIN)/ruff check .

types: $(STAMP) ## static types
	@echo "== mypy --strict"
	@$(BIN)/mypy --strict cdshooks tests

imports: $(STAMP) ## the layers: imports point one way
	@echo "== lint-imports"
	@$(BIN)/lint-imports --no-logo

yaml: $(STAMP) ## style of the YAML files
	@echo "== yamllint mappings tests deploy"
	@$(BIN)/yamllint --strict mappings tests deploy

knowledge: $(STAMP) ## the clinical data in mappings/
	@echo "== cdshooks knowledge check"
	@$(BIN)/cdshooks knowledge check

canaries: $(STAMP) ## make mappings/canaries.json and cdshooks/service/scenarios.json again from the scenarios
	@$(BIN)/python tests/canaries.py

docker: $(STAMP) ## lint of the Dockerfile
	@echo "== hadolint Dockerfile"
	@if $(BIN)/hadolint --version >/dev/null 2>&1; then $(BIN)/hadolint Dockerfile; \
	else echo "skipped: hadolint does not run on this machine"; fi

# Where the browser may be installed without asking anybody: on Debian, as root of a container or in CI; in CI also with
# a sudo that needs no password. On a person's own machine nothing is installed.
chromium: ## the browser for the tests of the pages, where it is missing and may be installed
	@if command -v chromium chromium-browser google-chrome >/dev/null; then exit 0; fi; \
	as=refused; \
	if grep -qx 'ID=debian' /etc/os-release 2>/dev/null && command -v apt-get >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && { [ -n "$$CI" ] || [ -e /.dockerenv ] || [ -e /run/.containerenv ]; }; then as=; \
		elif [ -n "$$CI" ] && sudo -n true 2>/dev/null; then as='sudo -n'; fi; \
	fi; \
	if [ "$$as" = refused ]; then echo "skipped: no Chromium on this machine (Debian's package chromium)"; exit 0; fi; \
	echo "== apt-get install chromium"; \
	log=$$(mktemp); \
	if timeout $(CHROMIUM_WITHIN_S) $$as sh -c 'export DEBIAN_FRONTEND=noninteractive; apt-get -q update; \
		apt-get -q install -y --no-install-recommends chromium' >"$$log" 2>&1 </dev/null; \
	then chromium --version || true; else tail -n 3 "$$log"; echo "skipped: Chromium could not be installed"; fi; \
	rm -f "$$log"

pytest: $(STAMP) ## the tests
	@echo "== pytest"
	@$(BIN)/pytest -n $(WORKERS) -m "not integration"

test-integration: $(STAMP) ## the tests against a real FHIR server (HAPI FHIR JPA); needs Java 17 and Maven
	@echo "== pytest -m integration"
	@$(BIN)/pytest -n 0 -rs -m integration

oracle: $(STAMP) ## a million random orders against a second, independent opinion
	@$(BIN)/python -m tests.oracle --cases 1000000

torture: $(STAMP) ## 200 kills during 20,000 confirmed reports, on SQLite and on PostgreSQL (about half an hour)
	@$(BIN)/python tests/torture.py --database sqlite
	@$(BIN)/python tests/torture.py --database postgresql

claims: $(STAMP) ## write docs/claims.md: what becomes of each claim of the source articles
	@$(BIN)/python tests/claims.py

pictures: $(STAMP) ## make docs/pictures again: the SMART app for eight sample patients
	@$(BIN)/python tests/screenshots.py

bench: $(STAMP) ## how long a verdict takes
	@$(BIN)/python bench/run.py

fmt: $(STAMP) ## format, and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(STAMP) ## make the requirements*.txt again from pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) -o requirements.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --extra dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --only-build-deps --build-deps-for wheel -o requirements-build.txt pyproject.toml

clean: ## remove .venv and everything made
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
