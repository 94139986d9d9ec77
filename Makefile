# dicom-node: `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := dcmtk orthanc orthanc-dicomweb dicom3tools libpixelmed-java default-jdk-headless rsyslog rsyslog-gnutls strace libgdcm-tools openssl
.DEFAULT_GOAL := help
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1

.PHONY: help demo serve test test-slow crash-matrix conformance fuzz fuzz-guided lint bench bench-ingest card docs peers wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

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

crash-matrix: $(READY) peers ## strike the node with more than 1,000 faults, count what is lost, and renew the README's table
	$(BIN)/python -m tests.durability.matrix long --table docs/crash-matrix.md
	$(BIN)/python -m dicom_node.reference README.md

fuzz: $(READY) ## try odd inputs on all that reads what strangers wrote (INPUTS=100000, SEED=...)
	$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),100000) $(if $(SEED),--seed $(SEED))

fuzz-guided: $(READY) ## fuzz one parser, led by the code that is reached (TARGET="upper layer", SECONDS=600)
	$(BIN)/pip install -qq --constraint constraints.txt --editable '.[test,lint,fuzz]'
	$(BIN)/python -m tests.fuzz.guided "$(or $(TARGET),upper layer)" --seconds $(or $(SECONDS),600)

conformance: $(READY) peers ## every kind of document, SOP class, dirty header and character set under every validator
	$(BIN)/python -W ignore -m tests.conformance

lint: $(READY) ## ruff, mypy --strict and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure the node against its parts in the same run
	$(BIN)/python -m tests.bench

bench-ingest: $(READY) peers ## receivers side by side: this node, DCMTK, Orthanc, pynetdicom (ARGS="--scale 0.2 --json")
	$(BIN)/python -m tests.bench.bench_ingest $(ARGS)

card: $(READY) ## measure the embedded model's card again (PACK=training pack, DATA=development set)
	$(BIN)/python -m tests.bench.card $(PACK) $(DATA) card-output

docs: $(READY) ## renew the generated parts of the documents
	$(BIN)/python -m dicom_node.reference README.md config/README.md dicom_node/README.md

peers: ## install the programs that the tests talk to (Debian, root)
	@tests/peers/install $(PEERS)
	@tests/peers/npm/install

wheel: $(READY) ## build the wheel
	$(BIN)/python -m build --wheel

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist demo-output card-output fuzz-crashes fuzz-corpus tests/peers/npm/node_modules *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
