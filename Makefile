# SPDX-License-Identifier: Apache-2.0
# Every target sets itself up. PY chooses the Python: make test PY=python3.12

VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.ready-demo
DEV_READY := $(VENV)/.ready-dev
DOCS_READY := $(VENV)/.ready-docs
SYSTEM_READY := $(VENV)/.ready-system
# "exec": a signal to make reaches Python and not only a shell in between.
PINS := constraints.txt pyproject.toml scripts/venv.sh
export PY

# Airflow writes into its home as soon as it is imported: keep that out of the user's home folder.
OWN_HOME = AIRFLOW_HOME="$(CURDIR)/$(VENV)/airflow"

.DEFAULT_GOAL := help
.PHONY: help demo test system-test browser-test matrix lint types docs user-project package bench ci clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(DEMO_READY)  ## Cut a real clip and see it arrive in a real Airflow (KEEP=1 leaves Airflow's page up)
	@KEEP="$(KEEP)" exec $(BIN)/python -m scripts.demo

test: $(DEV_READY)  ## Run all tests; ARGS="..." goes to pytest
	$(OWN_HOME) exec $(BIN)/python -m pytest $(ARGS)

system-test: $(SYSTEM_READY)  ## Run a distributed Airflow through faults, with 100 jobs (FULL=1: 300)
	@scripts/debian.sh "/usr/lib/postgresql/*/bin/initdb:postgresql" redis-server:redis-server
	@FULL="$(FULL)" exec $(BIN)/python -m scripts.system_test

browser-test: $(SYSTEM_READY)  ## Try the connection form and a run's page in a browser (SCREENSHOTS=1: renew the docs' pictures)
	@scripts/debian.sh chromium:chromium
	@$(OWN_HOME) BROWSER=1 SCREENSHOTS="$(SCREENSHOTS)" $(BIN)/python -m pytest tests/browser $(ARGS)

matrix: $(DEV_READY)  ## Run the tests on every supported Airflow (ROWS="lowest 3.2": some; FULL=1: all tests)
	@FULL="$(FULL)" $(BIN)/python -m scripts.matrix $(ROWS)

lint: $(DEV_READY)  ## Check format and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV_READY)  ## Check types
	$(OWN_HOME) $(BIN)/mypy --strict airflow_provider_mpc scripts

docs: $(DOCS_READY)  ## Build the documentation into build/docs; a warning is an error
	$(OWN_HOME) $(BIN)/python -m scripts.make_docs --check
	$(BIN)/mkdocs build --strict --quiet

user-project: $(DEV_READY)  ## Test a user's project with the wheel, as docs/testing.md shows it
	$(BIN)/python -m scripts.check_user_project

package: $(DEV_READY)  ## Build wheel and sdist, and try the wheel in a clean environment
	$(BIN)/python -m scripts.check_package

bench: $(DEV_READY)  ## Measure
	$(OWN_HOME) $(BIN)/python -m benchmarks $(ARGS)

ci:  ## What the CI runs
	@.ci/run

clean:  ## Remove everything that the targets above made
	rm -rf $(VENV) .venv-package dist build .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEMO_READY): $(PINS)
	@scripts/venv.sh $(VENV) "the package, its emulator and Airflow" -e '.[emulator]'
	@touch $@

$(DEV_READY): $(PINS) scripts/requirements-dev.txt
	@scripts/venv.sh $(VENV) "what tests and checks need" -e '.[emulator]' -r scripts/requirements-dev.txt
	@touch $@ $(DEMO_READY)

$(DOCS_READY): $(DEV_READY) scripts/requirements-docs.txt
	@scripts/venv.sh $(VENV) "what the documentation is built with" -r scripts/requirements-docs.txt
	@touch $@

$(SYSTEM_READY): $(DEV_READY) scripts/requirements-system.txt
	@scripts/venv.sh $(VENV) "what tests of whole deployments need" -r scripts/requirements-system.txt
	@touch $@
