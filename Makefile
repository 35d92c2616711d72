# Every target works on a machine with Python 3.11 and make, without root, a container engine or a GPU.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
TRITON_VENV := .venv-triton
BIN := $(VENV)/bin
UV := $(BIN)/uv

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check gen lock format clean

help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready $(TRITON_VENV)/.ready ## Install everything into .venv and .venv-triton (hash-checked)

$(VENV)/.uv: requirements/bootstrap.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v == (3, 11) or sys.exit("Assay needs Python 3.11; %s is %d.%d. Set PYTHON=/path/to/python3.11" % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@touch $@

$(VENV)/.ready: $(VENV)/.uv requirements/dev.txt pyproject.toml
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements/bootstrap.txt requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(TRITON_VENV)/.ready: $(VENV)/.uv requirements/triton.txt
	$(UV) venv --quiet --clear --python $(PYTHON) $(TRITON_VENV)
	$(UV) pip sync --quiet --python $(TRITON_VENV)/bin/python --require-hashes requirements/triton.txt
	@touch $@

demo: setup ## Start the mesh, classify real texts over gRPC and REST, show audit and review, stop
	@$(BIN)/assay demo

up: setup ## Start the mesh and keep it running (Ctrl-C stops it)
	@$(BIN)/assay up

test: setup ## Run the tests
	@$(BIN)/python -m pytest

check: setup ## Lint, types, import rules, protos, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint
	$(BIN)/python protos/generate.py --check

gen: setup ## Regenerate the stubs and the OpenAPI document from protos/
	$(BIN)/python protos/generate.py

format: setup ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.uv ## Pin the requirements again, by hash
	cd requirements && for name in bootstrap runtime dev; do \
	  constraint=$$([ $$name = dev ] && echo "--constraints runtime.txt"); \
	  ../$(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 \
	    $$constraint $$name.in -o $$name.txt || exit 1; done
	cd requirements && ../$(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --no-deps --python-version 3.11 triton.in -o triton.txt
	cd requirements && ../$(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --python-version 3.11 modelkit.in -o modelkit.txt

clean: ## Remove the environments, caches and the local mesh's data
	rm -rf $(VENV) $(TRITON_VENV) .venv-modelkit .assay .assay-clients .assay-kafka .assay-modelkit
