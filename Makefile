# `make workbook` runs every notebook into build/; `make check` tests the package, `make test` the notebooks as well.
# They need python3 (3.10 or newer) and make; the rest is installed into .venv on the first call.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
BIN := .venv/bin
READY := .venv/.ready

# One thread to a process: several processes share the cores, and OpenMP's barriers are slow on a busy machine.
export OMP_NUM_THREADS ?= 1

.PHONY: help workbook lint check test lab refresh clean

help:
	@echo "make workbook   run the notebooks into build/, with their figures   (ARGS='--preset smoke' for a quick look)"
	@echo "make check      lint, format, and the tests without the notebooks, in minutes   (WORKERS=8, ARGS='-k figures')"
	@echo "make test       make check, and every notebook: as it stands, and with the smoke preset"
	@echo "make lab        open the notebooks in JupyterLab   (ARGS='--port 9000')"
	@echo "make refresh    run everything, long runs too, and renew figures/ and notebooks/ where anything changed"
	@echo "make clean      remove build/, .venv and compiled code"

workbook: $(READY)
	$(BIN)/swaplib run $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --ignore tests/workbook/test_notebooks.py $(ARGS)

# The tests come last and all together, so that the closing line counts them all.
test: lint
	@rm -rf build/tested
	SWAPLIB_FIGURES=$(CURDIR)/build/tested/figures $(BIN)/python -m pytest --nbval-lax --dist loadscope -n $(WORKERS) -q notebooks
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lab: $(READY)
	$(BIN)/swaplib lab $(ARGS)

# The last run shows what a reader gets from the defaults; it keeps the tables of the longer ones, under other names.
refresh: $(READY)
	@rm -rf build/refreshed
	$(BIN)/swaplib study comparison
	$(BIN)/swaplib run 11_judges --set people=200 --figures build/refreshed
	$(BIN)/swaplib run 20_rsgan --set pairs=1000 --figures build/refreshed
	$(BIN)/swaplib run 20_rsgan --set pairs=200 --set world=wild --figures build/refreshed
	$(BIN)/swaplib run 22_smooth_swap --set pairs=200 --figures build/refreshed
	$(BIN)/swaplib run 25_e4s --set pairs=100 --figures build/refreshed
	$(BIN)/swaplib run 31_directions --set name=rsgan --figures build/refreshed
	$(BIN)/swaplib run 31_directions --set pairs=100 --figures build/refreshed
	$(BIN)/swaplib run 32_inversion --set pairs=16 --figures build/refreshed
	$(BIN)/swaplib run --update --figures build/refreshed

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
	find swaplib -name "*.nb[ic]" -delete
