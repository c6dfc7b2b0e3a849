# `make demo` and `make test` are all a newcomer needs; both create .venv and install into it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NPM_DIR := .cache/npm
ANVIL := $(NPM_DIR)/node_modules/.bin/anvil

.PHONY: demo test lint types contracts unit bench screenshots clean crash

demo: $(VENV)/.installed
	@$(BIN)/bursar demo $(ARGS)

test: $(VENV)/.installed-test anvil lint types contracts unit

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/mypy

contracts: $(VENV)/.installed-test
	$(BIN)/lint-imports

# In a folder with a short name, because a Unix socket's path is at most 103 bytes long.
unit: $(VENV)/.installed-test
	@folder=$$(mktemp -d /tmp/bursar-XXXXXX) && \
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report= \
		--durations=15 --basetemp=$$folder/t $(ARGS) && rm -rf $$folder
	$(BIN)/python tests/coverage_gates.py

bench: $(VENV)/.installed-test anvil
	$(BIN)/python -m tests.bench $(ARGS)

crash: $(VENV)/.installed-test
	$(BIN)/python -m tests.crash.kill_runs --runs 1000
	$(BIN)/python -m tests.crash.power_cuts --runs 20000
	$(BIN)/python -m tests.crash.power_cuts --runs 5000 --without-sync

screenshots: $(VENV)/.installed
	$(BIN)/python -m tui.screenshots

$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Bursar into $(VENV) (once)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Bursar and its test tools into $(VENV) (once)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/.installed

# A real EVM node and OpenZeppelin's compiled tokens, where Node is there to bring them. Where it
# is not, the tests that need them are skipped with one line that says so (never in CI).
.PHONY: anvil
anvil:
	@if [ -x $(ANVIL) ] && [ -d $(NPM_DIR)/node_modules/@openzeppelin ]; then :; \
	elif command -v npm >/dev/null; then \
		echo "Installing the EVM test node into $(NPM_DIR) (once)..."; \
		npm install --silent --no-audit --no-fund --prefix $(NPM_DIR) \
			@foundry-rs/anvil@1.7.1 @openzeppelin/contracts@4.9.6; \
	elif [ -n "$$CI" ]; then echo "CI needs npm to install the EVM test node" >&2; exit 1; \
	else echo "npm is not here: tests against a real EVM node will be skipped"; fi

clean:
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
