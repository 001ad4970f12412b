.PHONY: setup demo test test-fast lint bench lock

TRANSFERSEG := .venv/bin/transferseg
PYTEST := .venv/bin/python -m pytest

setup:            ## Python 3.10 and the locked packages in .venv
	@./bootstrap.sh

demo: setup       ## built-in data -> whole pipeline -> table, report, served model
	@$(TRANSFERSEG) demo --workdir build/demo

test: setup       ## every test: unit, slow, e2e
	@$(PYTEST)

test-fast: setup  ## unit tests only
	@$(PYTEST) -m "not slow and not e2e"

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

bench: setup      ## BENCH=labels runs one group
	@.venv/bin/python -m benchmarks $(BENCH)

lock:             ## resolve requirements.in again
	@uv pip compile --python-version 3.10 --no-header --no-annotate requirements.in -o requirements.lock
