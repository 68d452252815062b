# Two commands: `make workbook` runs every notebook and fills figures/; `make test` checks everything.
# They need python3 (3.10 or newer) and make; the rest is installed into .venv on the first call.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

# One thread to a process: several processes share the cores, and OpenMP's barriers are slow on a busy machine.
export OMP_NUM_THREADS ?= 1

.PHONY: help workbook test lab refresh clean

help:
	@echo "make workbook   run the notebooks into build/ and fill figures/   (ARGS='--preset smoke' for a quick look)"
	@echo "make test       lint, every notebook under nbval, and tests"
	@echo "make lab        open the notebooks in JupyterLab"
	@echo "make refresh    make what is committed anew: the 500-pair table, figures/, executed notebooks/"
	@echo "make clean      remove build/ and .venv"

workbook: $(READY)
	$(BIN)/swaplib run $(ARGS)

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/tested && mkdir -p build && cp -R figures build/tested # what they save stays out of figures/
	SWAPLIB_FIGURES=$(CURDIR)/build/tested $(BIN)/python -m pytest --nbval-lax --dist loadscope -n $(WORKERS) -q notebooks
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lab: $(READY)
	$(BIN)/swaplib lab

refresh: $(READY)
	$(BIN)/swaplib run 50_compare --set pairs=500 --figures figures
	$(BIN)/swaplib run 20_rsgan --set pairs=1000 --figures figures
	$(BIN)/swaplib run 20_rsgan --set pairs=200 --set world=wild --figures figures
	$(BIN)/swaplib run 31_directions --set name=rsgan --figures figures
	$(BIN)/swaplib run 32_inversion --set pairs=16 --figures figures
	$(BIN)/swaplib run --update

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "swaplib needs Python 3.10 or newer: name one with make PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	    { rm -rf .venv; echo "$(PYTHON) can't make virtual environments: install its venv module" >&2; exit 1; }
	@echo "Installing into .venv (once; a few minutes)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf build .venv
