# Needs Python 3.11, git and make; everything else comes from requirements.lock into .venv.
# Any variable below can be given on the command line: make book PRESET=smoke, make book PYTHON=/opt/python3.11/bin/python3.

PYTHON ?= python3.11
PRESET ?= quick
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made
FAST := not slow and not browser and not gpu

.DEFAULT_GOAL := help
.PHONY: help environment book test test-slow test-browser test-gpu lab lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PRESET=$(PRESET)  PYTHON=$(PYTHON)"

book: ## run the study of PRESET and build the book (what is done already is kept)
	@set -e; start=$$(date +%s); \
	$(MAKE) --no-print-directory environment; environment=$$(date +%s); \
	$(BIN)/python -m kdlib study --preset $(PRESET); study=$$(date +%s); \
	$(BIN)/python -m kdlib.book.bookbuild --preset $(PRESET); book=$$(date +%s); \
	echo "environment $$((environment - start)) s, study $$((study - environment)) s, book $$((book - study)) s"

test: environment ## the fast tests, on up to four cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "$(FAST)" $(ARGS)

test-slow: environment ## the tests that train or execute something
	@$(BIN)/python -m pytest -m "slow and not browser and not gpu" $(ARGS)

test-browser: environment ## the book in Chromium: a sample, and _build/html if there is one
	@$(BIN)/python -m pytest -m browser $(ARGS)

test-gpu: environment ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -m gpu $(ARGS)

lab: environment ## JupyterLab on notebooks/ (a double click on a .py opens a notebook)
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(ARGS)

lock: environment ## write requirements.lock anew: the newest versions that pyproject.toml allows
	@trap 'rm -f uv.lock' EXIT; rm -f uv.lock; \
	$(BIN)/uv lock --quiet --python $(BIN)/python && \
	$(BIN)/uv export --quiet --frozen --no-hashes --no-emit-project --all-extras -o requirements.lock

clean: ## remove the built book and caches (.venv and runs/ stay)
	@rm -rf _build .pytest_cache book/_static/plotly.min.js
	@find kdlib notebooks tests -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

environment: $(MADE) ## make or update .venv
	@:

# The lock names the version of uv, too. uv is much faster than pip, and compiling the packages once spares every later start of a
# notebook's kernel from doing it.
$(MADE): requirements.lock pyproject.toml jupyter-config/default_setting_overrides.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' is not a Python 3.11. Install Python 3.11, or name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' lacks the module venv or ensurepip. On Debian and Ubuntu: apt-get install python3.11-venv" >&2; exit 1; }
	@echo "making $(VENV) from requirements.lock"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	@UV_COMPILE_BYTECODE=1 $(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@
