# Five targets: demo, test, check, bench, clean.  Needs Python >= 3.11; everything else is installed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test check bench clean

# the whole story on real models: about three minutes the first time, seconds after
demo: $(VENV)/.demo
	$(BIN)/isthmus demo

# what needs an extra that is not installed is skipped, and the count is printed
test: $(VENV)/.test
	$(BIN)/python -m pytest -q -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# isthmus, bare BLAS, scikit-learn, faiss and the peers on the same arrays in one run
bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) isthmus-demo build dist .pytest_cache .ruff_cache .hypothesis

$(VENV)/.base:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "isthmus needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.%: $(VENV)/.base pyproject.toml
	$(BIN)/pip install -q -e '.[$*]'
	touch $@
