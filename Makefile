# Everything runs in a virtual environment of its own, installed from hash-locked requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup run test lint check-methods methods-doc soak plan-check lock golden schema clean

help: ## Print these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock requirements-uv.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY) ## Install Tuneoff and all that it needs into .venv

run: setup ## Run the quickstart study, then print where its report is
	$(BIN)/tuneoff run studies/quickstart.yaml

test: setup lint ## Check style and types, then run the tests
	$(BIN)/python -m pytest

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-methods: setup ## Every check of the contract, in full, over every method that is installed here (an hour)
	@for method in $$($(BIN)/tuneoff methods | cut -d' ' -f1); do $(BIN)/tuneoff check-method $$method || failed=1; done; [ -z "$$failed" ]

methods-doc: setup ## Write docs/methods.md anew from the registry
	$(BIN)/python docs/write_methods.py

soak: setup ## An hour of kills, outages and full disks, compared with an undisturbed run (root, for its small disk)
	PYTHONPATH=tests $(BIN)/python tests/soak.py --minutes 60

plan-check: setup ## Compare the plan's time with real runs'
	$(BIN)/python tests/plan_check.py studies/quickstart.yaml studies/own-model.yaml

lock: setup ## Resolve the dependencies anew
	$(BIN)/uv pip compile pyproject.toml --extra all --extra dev --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet --upgrade -o requirements.lock

golden: setup ## Write the golden files of the compiled pipelines anew
	TUNEOFF_REWRITE_GOLDEN=1 $(BIN)/python -m pytest tests/pipelines/test_bakeoff.py

schema: setup ## Write the JSON schema of study files anew
	$(BIN)/tuneoff schema > studies/schema.json

clean: ## Remove the virtual environment and what tests leave behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
