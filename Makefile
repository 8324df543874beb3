# Everything runs in a separate virtual environment, installed from hash-locked requirements.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Some frameworks conflict with the others. Each of these environments has its own lock and .venv-NAME, with everything that a run
# needs and the paper's four methods.
ENVIRONMENTS := torch vizier neps autokeras
SHARED := pipeline data tracking s3 report grid keras-tuner skopt check
# One lock holds for Python 3.11 to 3.13 and for each platform. Locked releases stay: make lock UPGRADE=--upgrade takes the newest.
UPGRADE ?=
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet $(UPGRADE)
# make setup-torch TORCH=torch==2.13.0+cpu takes that build, wherever pip finds it, and leaves out the 4 GB of the CUDA build.
TORCH ?=
CUDA := torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+

.DEFAULT_GOAL := help
.PHONY: help setup run test test-environments lint check-methods methods-doc frameworks-doc replays findings readme-picture docs fuzz bench soak plan-check lock golden \
	schema clean images image-test container-test container-tools base-image local-images cluster-up cluster-test cluster-down \
	podman-manifests

help: ## Print these targets
	@awk -F':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock requirements-uv.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY) ## Install Tuneoff and its dependencies into .venv

setup-%: .venv-%/.ready ## Install a separate environment, for example setup-torch into .venv-torch
	@:

.PRECIOUS: .venv-%/.ready
.venv-%/.ready: requirements-%.lock requirements-uv.lock pyproject.toml
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	! test "$(TORCH)" || ! grep -q '^torch==' $< || .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	awk '/^[a-z]/ {skip = "$(TORCH)" != "" && /^($(CUDA))==/} !skip' $< > .venv-$*/requirements.lock
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --no-deps --require-hashes --compile-bytecode -r .venv-$*/requirements.lock
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python --no-deps --no-build-isolation -e .
	@touch $@

run: setup ## Run the quickstart study, then print where its report is
	$(BIN)/tuneoff run studies/quickstart.yaml

test: setup lint ## Check style and types, then run the tests, a few files side by side
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

test-environments: $(ENVIRONMENTS:%=test-in-%) ## Build the other environments and run the contract of their methods in each

# Exit code 2 is of a method that cannot be had here, such as one whose model cannot be downloaded; what it lacks is printed.
IN_ENVIRONMENT = from tuneoff.methods.registry import REGISTRY; \
	found = [spec for spec in REGISTRY.values() if spec.environment == '$*']; \
	assert all(spec.installed for spec in found); print(*(spec.name for spec in found))
test-in-%: .venv-%/.ready
	names=$$(.venv-$*/bin/python -c "$(IN_ENVIRONMENT)") || exit 1; failed=0; \
		for name in $$names; do .venv-$*/bin/tuneoff check-method $$name; test $$? -ne 1 || failed=1; done; exit $$failed

lint: setup ## Check style, layers (import-linter) and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

fuzz: setup ## Ten times as many damaged study files as the tests look at
	TUNEOFF_FUZZ=20000 $(BIN)/python -m pytest --timeout 3600 tests/study_file/test_fuzzed_studies.py

bench: setup ## Measure every speed goal and compare with KerasTuner and scikit-optimize: docs/benchmarks.md
	$(BIN)/python -m benchmarks

INSTALLED = from tuneoff.methods.registry import REGISTRY; print(*(s.name for s in REGISTRY.values() if s.installed))
check-methods: setup ## Every check of the contract, in full, over every method that is installed here (hours)
	@names=$$($(BIN)/python -c "$(INSTALLED)") || exit 1; failed=0; \
		for name in $$names; do $(BIN)/tuneoff check-method $$name || failed=1; done; exit $$failed

methods-doc: setup ## Write docs/methods.md from the registry
	$(BIN)/python tools/docs/write_methods.py

frameworks-doc: setup ## Write docs/frameworks.md: defaults of the registry, and statistics of random draws
	$(BIN)/python tools/docs/write_frameworks.py

# A study or a table alone: make replays REPLAYS=hyperband-replay TABLES=mnist-14. What is finished is not searched again.
REPLAYS ?= all-replay hyperband-replay random-replay grid-replay frameworks-replay
TABLES ?= $(basename $(notdir $(wildcard studies/tables/*.parquet)))
replays: setup ## Search the tables under studies/tables/ with every replay study (an hour a table), for findings and advice
	for table in $(TABLES); do for study in $(REPLAYS); do \
		test -f runs/replays/$$study-$$table/report/results.json || \
		$(BIN)/tuneoff run studies/$$study.yaml --table studies/tables/$$table.parquet --out runs/replays/$$study-$$table || exit 1; \
	done; test ! -f runs/replays/all-replay-$$table/report/results.json || $(BIN)/python -m tuneoff.advice.bundled runs/replays/all-replay-$$table || exit 1; done

# data/findings/ keeps a report after its run is deleted. A new run of a study replaces its report.
findings: setup ## Write docs/findings.md from the reports under runs/: table studies and trained studies
	$(BIN)/python tools/docs/write_findings.py runs

readme-picture: setup ## Draw the picture of README.md from runs/quickstart
	$(BIN)/python tools/docs/readme_picture.py runs/quickstart

# The site is written to site/. A dead link, a missing page or an unknown name in docs/api.md is an error.
docs: setup ## Build the documentation site strictly
	$(BIN)/python -m mkdocs build --strict

soak: setup ## An hour of kills, outages and full disks, compared with an undisturbed run (root, for its small disk)
	$(BIN)/python tests/support/soak.py --minutes 60

plan-check: setup ## Compare the plan's time with real runs'
	$(BIN)/python tests/support/plan_check.py studies/quickstart.yaml studies/own-model.yaml

# IMAGES="tuner tuner-gpu" builds these; BASE, PREFIX and TAG are the base image, and what goes before and behind the names.
IMAGES ?=
BUILD = $(PYTHON) docker/build.py $(BASE:%=--base %) $(PREFIX:%=--prefix %) $(TAG:%=--tag %) $(NETWORK:%=--network %)
images: ## Build the images of the steps with docker, podman or buildah
	$(BUILD) $(TORCH:%=--build-arg TORCH=%) $(IMAGES)

# The checks in containers need root and Debian, and no registry: the base image is made here.
LOCAL_BASE := localhost/python:3.11-debian
HERE = CONTAINERS_CONF=$(CURDIR)/docker/containers.conf BUILDAH_ISOLATION=chroot
container-tools:
	command -v podman buildah runc debootstrap catatonit >/dev/null || \
		{ apt-get update && apt-get install --yes --no-install-recommends podman buildah runc debootstrap catatonit; }

base-image: container-tools
	$(HERE) podman image exists $(LOCAL_BASE) || $(HERE) sh docker/base.sh $(LOCAL_BASE)

local-images: base-image
	$(HERE) $(PYTHON) docker/build.py --engine buildah --base $(LOCAL_BASE) --network host --prefix localhost/tuneoff \
		$(TORCH:%=--build-arg TORCH=%) $(IMAGES)

image-test: setup local-images ## Build the images here, on a base of this Debian, and run each step in its container (root)
	TUNEOFF_TEST_IMAGES=1 $(BIN)/python -m pytest tests/images/test_steps.py tests/images/test_docker_runner.py

container-test: IMAGES = data_prep tuner evaluator reporter stand-in-mlflow stand-in-postgres stand-in-s3
container-test: setup local-images ## Run the quickstart with each step in its container, with MLflow, PostgreSQL and S3 (root)
	TUNEOFF_TEST_IMAGES=1 $(BIN)/python -m pytest tests/images/test_pipeline.py

# DRY_RUN=1 prints the commands instead. The study's images must be there: make images.
CLUSTER_SH = PATH="$(CURDIR)/$(BIN):$$PATH" PYTHON=$(BIN)/python manifests/cluster.sh
cluster-up: setup ## A Kubernetes cluster in kind, with KFP, MLflow, PostgreSQL and S3 (kind; docker or podman)
	$(CLUSTER_SH) up

cluster-test: setup ## Run the quickstart on that cluster, and look whether its trials and report arrived
	$(CLUSTER_SH) test

cluster-down: ## Take that cluster away
	$(CLUSTER_SH) down

podman-manifests: setup ## Print MLflow, PostgreSQL and S3 as one file for `podman kube play -`
	@$(BIN)/kubectl kustomize manifests/podman

lock: setup ## Resolve the dependencies of all environments again (UPGRADE=--upgrade: in their newest releases)
	$(COMPILE) --extra all --extra dev --extra docs -o requirements.lock
	for name in torch vizier neps; do $(COMPILE) $(SHARED:%=--extra %) --extra cpu --extra $$name -o requirements-$$name.lock || exit 1; done
	$(COMPILE) $(SHARED:%=--extra %) --extra autokeras -o requirements-autokeras.lock
	$(BIN)/python docker/packages.py

golden: setup ## Rewrite the golden files of the compiled pipelines
	TUNEOFF_REWRITE_GOLDEN=1 $(BIN)/python -m pytest tests/pipelines/test_bakeoff.py tests/katib/test_experiments.py

schema: setup ## Rewrite the JSON schema of study files
	$(BIN)/tuneoff schema > studies/schema.json

clean: ## Remove the virtual environment and what tests leave behind
	rm -rf $(VENV) .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis
