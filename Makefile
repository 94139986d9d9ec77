# dicom-node: `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := dcmtk orthanc dicom3tools libpixelmed-java default-jdk-headless
.DEFAULT_GOAL := help
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1

.PHONY: help demo serve test test-slow lint bench card docs peers wheel clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "dicom-node needs Python 3.11 or newer; this is $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --upgrade pip
	$(BIN)/pip install -qq --constraint constraints.txt --editable '.[test,lint]'
	@touch $@

demo: $(READY) ## send real studies through a node of their own and show the reports
	$(BIN)/dicom-node demo --output demo-output

serve: $(READY) ## run the node with deploy/node.yaml (or CONFIG=your.yaml)
	@mkdir -p var/reports
	$(BIN)/dicom-node serve --config $(or $(CONFIG),deploy/node.yaml)

test: $(READY) peers ## run the tests, against real peers
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

test-slow: $(READY) ## run the long tests that `make test` leaves out
	$(BIN)/python -m pytest -m slow

lint: $(READY) ## ruff, mypy --strict and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure the node against its parts in the same run
	$(BIN)/python -m tests.bench

card: $(READY) ## measure the embedded model's card again (PACK=training pack, DATA=development set)
	$(BIN)/python -m tests.bench.card $(PACK) $(DATA) card-output

docs: $(READY) ## renew the generated parts of the documents
	$(BIN)/python -m dicom_node.reference README.md dicom_node/README.md deploy/RUNBOOK.md

peers: ## install the programs that the tests talk to (Debian, root)
	@tests/peers/install $(PEERS)

wheel: $(READY) ## build the wheel
	$(BIN)/python -m build --wheel

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist demo-output card-output *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
