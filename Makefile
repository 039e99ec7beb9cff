PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Compiled modules make the start of the gateway, and of several hundred processes in the tests, faster.
export PYTHONDONTWRITEBYTECODE =

.DEFAULT_GOAL = help
.PHONY: help run test test-redis fuzz check format docs screenshots js bench soak chaos mutants clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Install everything and run the gateway with a private Redis and a sandbox CRM (PORT, CRMGATE_HOME, WORKER_PROCESSES)
	@exec $(BIN)/crmgate dev

test: $(VENV)/.test ## Install everything and run every test (ARGS="-k name" selects some)
	@$(BIN)/python -m tests.needs
	@$(BIN)/python -m pytest $(ARGS)

# The parts of the suite in which the Redis server matters.
REDIS_TESTS = tests/store tests/delivery tests/operators tests/test_watch.py tests/integration/test_redis_*.py \
	tests/integration/test_upgrade.py tests/integration/test_limits.py tests/integration/test_tokens.py

test-redis: $(VENV)/.test ## Run the tests of the ledger with another server (REDIS_SERVER=/path/of/valkey-server)
	@test -x "$(REDIS_SERVER)" || { echo "Set REDIS_SERVER to the path of a redis-server or valkey-server."; exit 1; }
	@mkdir -p $(VENV)/server && ln -sf "$(abspath $(REDIS_SERVER))" $(VENV)/server/redis-server
	@PATH="$(abspath $(VENV)/server):$$PATH" $(BIN)/python -m pytest $(REDIS_TESTS) $(ARGS)

fuzz: $(VENV)/.test ## Send 20,000 random requests, different ones each time (FUZZ_REQUESTS)
	@FUZZ_REQUESTS=$${FUZZ_REQUESTS:-20000} $(BIN)/python -m pytest -o addopts= -o timeout=0 -q -s tests/test_fuzz.py tests/web/test_random_bodies.py
	@$(BIN)/python -m tests.fuzz_schema --requests $${FUZZ_REQUESTS:-20000}

check: $(VENV)/.check ## Lint (Python and Lua), types, who may import whom, and that the documentation is current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy plugins
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.luacheck
	$(BIN)/python frontend/build.py --check
	$(BIN)/python -m pytest -q tests/test_docs.py

format: $(VENV)/.check ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.test ## Write the tables of the documentation that are generated from the code
	@$(BIN)/python docs/generate.py

screenshots: $(VENV)/.test ## Take the pictures of docs/operating.md from a running gateway (ARGS="now operation" takes some)
	@$(BIN)/python -m docs.screenshots $(ARGS)

js: $(VENV)/.check ## Build the script for websites, crmgate/web/static/crmgate.js, from frontend/crmgate.js
	@$(BIN)/python frontend/build.py

bench: $(VENV)/.test ## Measure crmgate beside other programs and write docs/performance.md (BENCH="accept drain" ROUNDS=1)
	@$(BIN)/python -m benchmarks $(BENCH) --rounds $(or $(ROUNDS),3) $(ARGS)

soak: $(VENV)/.test ## Deliver 50,000 operations and watch the memory of worker and Redis (about 5 min)
	@$(BIN)/python -m tests.soak

chaos: $(VENV)/.test ## Kill 1,000 processes of running gateways, count the leads, and write docs/reliability.md (ARGS)
	@FULL_TIMES=1 $(BIN)/python -m pytest -q -n 2 -o timeout=300 tests/integration/test_failures_*.py
	@$(BIN)/python -m tests.chaos --write $(ARGS)

mutants: $(VENV)/.test ## Run all checks of the contract kit on each harmful edit of the plugins, and print the score
	@MUTANTS_FULL=1 $(BIN)/python -m pytest -q -n 2 -s -o timeout=900 tests/testing/mutation

clean: ## Remove the files that the other targets created
	rm -rf $(VENV) .crmgate build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "crmgate needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; on Debian: apt install python3-venv"; exit 1; }

# One stamp for each set of packages, so that `make run` does not install the test tools.
$(VENV)/.run: $(BIN)/python setup.cfg
	@echo "Installing crmgate into $(VENV) ..."
	@$(BIN)/pip install -q -e . && touch $@

$(VENV)/.test: $(VENV)/.run
	@$(BIN)/pip install -q -e '.[test]'
	@$(BIN)/python -m pytest -n 0 --collect-only -q >$@.log || { cat $@.log; exit 1; } # compiles the tests once
	@touch $@

$(VENV)/.check: $(VENV)/.test
	@$(BIN)/pip install -q -e '.[test,check]' && touch $@
