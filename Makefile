# Every way in, one target each. `make demo` and `make test` do all their own set-up on a fresh clone.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REGISTRY ?= 127.0.0.1:5000
SERVICES ?= docker registry apptainer slurm
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Geoduct needs Python 3.11 or newer; python3 is $$(python3 --version)"; exit 1; }
	test -x $(BIN)/python || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: setup
setup: $(READY) ## Install everything into .venv, by the hashes in requirements.lock

# Triton builds kernels with a C compiler, which images do not have; torch does without Triton, but not with half of it.
NO_COMPILER := --no-emit-package triton
RESOLVE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

.PHONY: lock
lock: $(READY) ## Resolve pyproject.toml anew into requirements.lock, and into those of the images
	$(RESOLVE) pyproject.toml --all-extras --output-file requirements.lock
	$(RESOLVE) containers/build.in --output-file containers/build.lock
	$(RESOLVE) pyproject.toml --extra dask --constraint requirements.lock --output-file containers/data.lock
	$(RESOLVE) pyproject.toml --extra dask --extra finetune --constraint requirements.lock --output-file containers/learn.lock \
	  $(NO_COMPILER) \
	  $$(sed -n 's/^\([^ =]*\)==[^ ;]* .$$/--no-emit-package \1/p' containers/data.lock) # learn stands upon data

.PHONY: demo
demo: $(READY) ## The whole chain on the sample archive: from simulated scenes to a land-cover map and its report
	@dvc repro
	@geoduct experiment

.PHONY: samples
samples: ## Link the folder of real sample data to samples/ (make samples SAMPLES=<folder>)
	@test -f "$(SAMPLES)/scenes/catalog.json" || { echo "SAMPLES='$(SAMPLES)' holds no scenes/catalog.json; give the folder of real sample data"; exit 1; }
	ln -sfn "$(abspath $(SAMPLES))" samples

.PHONY: lint
lint: $(READY) ## Format check, lint and types
	ruff format --check .
	ruff check .
	mypy

.PHONY: unit
unit: $(READY) ## The fast tests
	pytest -m "not services and not slow"

.PHONY: test
test: lint ## Everything: lint, types, all tests
	tests/services/system.sh
	pytest

.PHONY: services
services: ## Install and start the real services that tests use (as root on Debian; SERVICES="docker registry" for some)
	@for service in $(SERVICES); do tests/services/$$service.sh start || exit 1; done

.PHONY: images
images: $(READY) ## Build the images, push them to REGISTRY, write containers/images.lock.yaml (BASE_IMAGE, TOOLS_IMAGE: optional)
	python -m containers.build --registry $(REGISTRY)

.PHONY: sif
sif: $(READY) ## Make the Apptainer images from the images of the lock, in containers/sif
	python -m containers.sif

.PHONY: bench
bench: $(READY) ## Measure against peers and limits; prints ratios taken in one run
	python -m benchmarks

.PHONY: docs
docs: $(READY) ## Write docs/components.md from the components' signatures
	python -m components.reference

.PHONY: picture
picture: demo ## Draw docs/sample.png anew from the sample experiment
	python docs/sample.py
