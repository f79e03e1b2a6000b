# The commands of the README. Everything runs in .venv, made here from Python 3.11 or newer and the lock files: the
# first command installs, later ones install again only when a requirement file or a pyproject.toml changed.
# An install that was cut off leaves .venv/.installing behind; the next command then starts .venv anew.

VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
UV := $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraint requirements.lock
UV_VERSION := 0.13.9

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo up test lint bench bench-pace bench-loss chaos crash
.DELETE_ON_ERROR:

help: ## Show these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

demo: $(RUN) ## Run the shipped pipelines once, in a real Airflow on this machine, against the simulator
	@$(BIN)/python -m demo.demo

up: $(RUN) ## Start Airflow with its UI and the simulator, until Ctrl-C
	@$(BIN)/python -m demo.up

# The tests start Python hundreds of times: let it keep bytecode, whatever the environment says.
test: $(DEV) ## Run every test
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 6 --dist loadfile --no-loadscope-reorder

lint: $(DEV) ## Check style, types and which module imports which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(DEV) ## Measure what is quick, and print the numbers
	@$(BIN)/python -m benchmarks

chaos: $(DEV) ## Let everything go wrong for five minutes, and compare (SEED=7 MINUTES=20; EXAMPLES=2000 orders as well)
	@$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED))
	@$(if $(EXAMPLES),FENXIANG_MACHINE_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -q tests/test_steps_machine.py)

crash: $(DEV) ## Kill a run at every call and every commit, and compare (half an hour; TARGET="write, appends" one target)
	@$(BIN)/python -m tests.crash --minutes $(or $(MINUTES),60) $(if $(TARGET),--target "$(TARGET)")

bench-pace: $(DEV) ## Measure how much of the quotas first loads use, two of them in a real Airflow (20 minutes)
	@$(BIN)/python -m benchmarks pace getting

bench-loss: $(DEV) ## Measure what is lost while others edit, beside dlt, Airbyte's CDK and the Singer SDK (some minutes)
	@$(BIN)/python -m benchmarks loss

$(RUN): requirements.txt requirements.lock pyproject.toml simulator/pyproject.toml
	@tried="$${PYTHON:-python3.11 python3}"; python=; \
	for name in $$tried; do \
	    if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Python 3.11 or newer is needed; looked for: $$tried. Install it, or name one:" \
	        "make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	if [ -e $(VENV)/.installing ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    rm -rf $(VENV); \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    mkdir -p $(VENV) && touch $(VENV)/.installing; \
	    $$python -m venv $(VENV) || { \
	        echo "$$python cannot make a virtual environment. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi
	@touch $(VENV)/.installing
	@echo "Installing Airflow and this project into $(VENV) (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@$(UV) --requirement requirements.txt
	@$(UV) --no-deps --no-build-isolation --editable . --editable ./simulator
	@rm $(VENV)/.installing
	@touch $@

$(DEV): $(RUN) requirements-dev.txt requirements-dev.lock
	@touch $(VENV)/.installing
	@echo "Installing the test tools into $(VENV)"
	@$(UV) --constraint requirements-dev.lock --requirement requirements-dev.txt
	@rm $(VENV)/.installing
	@touch $@
