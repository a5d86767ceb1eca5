# demo: from a bare Python to the main job's table. test: everything the tests need, then the tests.
# Both install the exact versions of constraints.txt. fairseq: an environment of its own for fairseq.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint fairseq clean

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

fairseq: .fairseq/installed

.fairseq/installed: launch/fairseq_env.sh
	PYTHON=$(PYTHON) launch/fairseq_env.sh .fairseq

# without fairseq its tests are skipped, by name
test: .venv/installed-test
	$(MAKE) fairseq >.fairseq.log 2>&1 || echo "fairseq was not built (is there a C++ compiler?): its tests are skipped; .fairseq.log has why"
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

clean:
	rm -rf .venv .fairseq .fairseq.log dist build
