# Two commands do everything: `make demo` and `make test`. Each sets itself up, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
# One Prefect home inside the checkout: neither the demo nor a test touches the profile or the database of the user.
export PREFECT_HOME := $(CURDIR)/.cache/prefect
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Nor does either of them write to a server that the user's shell points to.
unexport PREFECT_API_URL PREFECT_API_KEY PREFECT_PROFILE
# Nor does the user's own profile reach the sandbox.
unexport PIXEL_QUARRY_PROJECT PIXEL_QUARRY_CONNECTION PIXEL_QUARRY_OUTPUT
export NO_PROXY := 127.0.0.1,localhost
# Of `make up`; a PORT in the user's environment means something else.
PORT := 4200
SANDBOX_PORT := 9080

.PHONY: help setup demo up down test test-ui screenshots bench chaos chaos-server large fuzz check format lock clean

help: ## What can be made
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## A virtual environment from the lock, with the command `pixel-quarry` (the other targets call it)

# The lock is whole: pip resolves nothing. It would ask for newer releases than those of the lock where a name has extras.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PYTHON) deployments/install.py $(VENV) requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.ready-* && touch $@

demo: $(READY) ## The main job on the sandbox: three flows, with pictures to look at
	mkdir -p $(PREFECT_HOME) && $(BIN)/python -m deployments.demo

up: $(READY) ## Prefect server, sandbox and worker on loopback, with all deployments; PORT=4300 SANDBOX_PORT=9180 for others
	$(BIN)/python -m deployments.up start --port $(PORT) --sandbox-port $(SANDBOX_PORT)

down: ## Stop what `make up` started
	@test ! -x $(BIN)/python || $(BIN)/python -m deployments.up stop

# Three processes: on two cores, one of them waits for a server most of the time.
test: $(READY) ## All tests but those of the UI
	mkdir -p $(PREFECT_HOME) && $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-ui: $(READY) ## A browser on all of `make up`; what it saw is in .cache/screenshots
	@command -v chromium > /dev/null || (apt-get update -qq && apt-get install -y -qq chromium) > /dev/null || \
	  (echo "It needs chromium: install it as your system does."; exit 1)
	mkdir -p $(PREFECT_HOME) && $(BIN)/python -m pytest -m ui tests/ui tests/deployments/test_up.py

screenshots: ## Renew the pictures of the README
	SCREENSHOTS=keep $(MAKE) test-ui

bench: $(READY) ## Speed at the quota, and the reference's; CASE="name other" runs some
	$(BIN)/python -m tests.bench $(CASE)

chaos: $(READY) ## A job of 2,000 tiles killed 20 times, in a folder and in a bucket; takes half an hour
	mkdir -p $(PREFECT_HOME) && $(BIN)/python -m tests.chaos

large: $(READY) ## One run of 100,000 tiles, with what it uses of memory and database; half an hour
	mkdir -p $(PREFECT_HOME) && $(BIN)/python -m tests.chaos.large

fuzz: $(READY) ## Broken inputs of every kind that others can write; KIND="npy csv" INPUTS=10000 for others
	$(BIN)/python -m tests.fuzz $(KIND)

chaos-server: $(READY) ## Faults of the Prefect server in each call of a run at each phase, signals in each wait; half an hour; PART=signals for one part
	mkdir -p $(PREFECT_HOME) && $(BIN)/python -m tests.chaos.faults $(PART)

check: $(READY) ## Lint, format, strict types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Put the code in its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Compile the lock again (no index addresses, with hashes)
	$(BIN)/uv pip compile pyproject.toml --all-extras --no-strip-extras --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 --upgrade --quiet --output-file requirements.lock

clean: down ## Remove what the targets made, and stop what runs
	rm -rf .venv .cache .demo .up .mypy_cache .ruff_cache .pytest_cache .hypothesis
