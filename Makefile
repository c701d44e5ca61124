# make demo      the embedded corpus, degraded, restored, compared: a few small methods
# make demo-all  likewise with every method of params.yaml
# make test      style, types and tests (pytest -m long for the long forms)
# make chaos     a small run repeated under random kills, for half an hour or fifty of them
# make bench     the speed tables
# make ui        MLflow on http://127.0.0.1:5000
.PHONY: setup demo demo-all test chaos bench ui clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
# An environment that was made elsewhere and moved has the old place in all of its scripts.
MOVED := $(shell test -f .venv/bin/activate && ! test -L .venv && ! grep -qF '$(CURDIR)/.venv' .venv/bin/activate && echo moved)
SUITES := fidelity guided robustness online realworld space_time
DEMO := bicubic basicvsr_bi basicvsr_tuned_bi seem_basicvsr_bi dap_bi cascade_flow cascade_basicvsr

setup: $(READY)
ifneq ($(MOVED),)
.PHONY: $(READY)
endif

$(READY): pyproject.toml constraints.txt
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" || { echo "error: Python 3.11 is needed: install it, or run make PYTHON=/path/to/python3.11."; exit 1; }
	$(if $(MOVED),rm -rf .venv)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: METHODS := $(DEMO) $(addprefix --suite ,$(SUITES))
demo: NEXT := "More:    dvc repro or make demo-all train every other method too; vsr repro --dry says which, and how long it takes"
demo-all: METHODS :=
demo demo-all: $(READY)
	$(BIN)/vsr repro --jobs 2 $(METHODS)
	@echo
	@echo "Runs:    make ui, then http://127.0.0.1:5000"
	@$(if $(NEXT),echo $(NEXT))

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m 'not long' --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

chaos: $(READY)
	$(BIN)/python tests/chaos.py --faults 50 --minutes 30

bench: $(READY)
	$(BIN)/python -m benchmarks

ui: $(READY)
	$(BIN)/vsr ui

clean:
	rm -rf data results report .vsr
