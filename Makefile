.PHONY: setup demo test test-fast test-airflow soak lint bench images wheel lock

TRANSFERSEG := .venv/bin/transferseg
PYTEST := .venv/bin/python -m pytest
# Three on two cores: some tests wait for processes, sockets and clocks.
THREE := --numprocesses=3 --dist=loadfile --no-loadscope-reorder

setup:            ## Python 3.10 and the locked packages in .venv
	@./bootstrap.sh

demo: setup       ## built-in data -> whole pipeline -> table, report, served model
	@$(TRANSFERSEG) demo --workdir build/demo

test: setup       ## every test but the soak tests; about 15 minutes on two cores
	@$(PYTEST) $(THREE)

test-fast: setup  ## unit tests only; two minutes
	@$(PYTEST) $(THREE) -m "not slow and not e2e and not soak"

soak: setup       ## what only many repetitions show: kills, fuzz, load, whole trainings; an hour or more
	@$(PYTEST) $(THREE) -m soak

test-airflow: ## the Airflow DAG, in an environment of its own: .venv-airflow
	@VENV=.venv-airflow LOCK=requirements-airflow.lock ./bootstrap.sh
	@.venv-airflow/bin/python -m pytest tests/e2e/test_airflow.py

lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

bench: setup      ## BENCH=labels runs one group
	@.venv/bin/python -m benchmarks $(BENCH)

images:           ## docker/: CPU, CUDA and Beam worker, built and tried; skips without docker
	@docker/build.sh

wheel: setup      ## dist/transferseg-*.whl; installs with requirements.lock as constraints
	@.venv/bin/python setup.py -q build --build-base build/wheel bdist_wheel -d dist

lock:             ## resolve requirements.in and requirements-airflow.in again
	@uv pip compile --python-version 3.10 --no-header --no-annotate requirements.in -o requirements.lock
	@uv pip compile --python-version 3.10 --no-header --no-annotate requirements-airflow.in -o requirements-airflow.lock
