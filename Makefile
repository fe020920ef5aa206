# `make test` and `make demo` set up everything they need in .venv, from PyPI alone.
# A smaller torch without CUDA: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3 python3.11 python3.12 python3.13 python3.14
PYTHON ?= $(firstword $(foreach each,$(CANDIDATES),$(shell \
	$(each) -c '$(USABLE)' >/dev/null 2>&1 && echo $(each))))

.PHONY: test bless pages demo characters shapes bench lint format constraints clean

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto $(ARGS)

# Writes again what the error pages show that the compiler says; look at the difference.
bless: $(STAMP)
	ARCHDSL_BLESS=1 $(BIN)/python -m pytest -q -n auto tests/language/test_errors.py

# Writes again the pages that are made from the code.
pages: $(STAMP)
	$(BIN)/python docs/files.py
	$(BIN)/python -m archdsl.reports.operators > $(VENV)/operators.md
	@mv $(VENV)/operators.md docs/operators.md

demo: $(STAMP)
	$(BIN)/python examples/digits.py

characters: $(STAMP)
	$(BIN)/python examples/characters.py

shapes: $(STAMP)
	$(BIN)/python examples/shapes.py

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: $(STAMP)
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/pip freeze --exclude-editable --exclude pip | sed 's/+cpu//'; } > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed: make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
