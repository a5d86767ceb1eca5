# Two targets. demo: from a bare Python to the main job's table. test: everything the tests need, then the tests.
# Both install the exact versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" launch/share_cores.sh study=quickstart

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/installed-test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

clean:
	rm -rf .venv dist build
