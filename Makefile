# Two targets. demo: from a bare Python to the main job's table. test: everything the tests need, then the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	# torch by its exact version first: a CPU machine then takes the CPU build where there is one
	$(BIN)/python -m pip install --quiet "torch==2.13.0" || $(BIN)/python -m pip install --quiet "torch>=2.6,<2.14"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

demo: .venv/installed
	$(BIN)/selfpretrain study study=quickstart

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/installed-test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

clean:
	rm -rf .venv dist build
