PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint check docs test-pythons dist dist-test clean

demo: $(VENV)/installed-demo ## install, then meta-train, meta-test and draw a picture
	$(BIN)/quickstudy demo

test: $(VENV)/installed-dev ## the tests
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev ## format, lint, types, imports, Pythons
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tools/pythons.py compile

check: lint test ## all that CI runs; with -j2 side by side

docs: $(VENV)/installed-dev ## the site, into build/site/html: runs the tutorials
	$(BIN)/python docs/site/build.py

test-pythons: $(VENV)/installed-dev ## the fast tests with every Python here that quickstudy takes
	$(BIN)/python tools/pythons.py test

dist: $(VENV)/installed-dev ## the source distribution and the wheel, their contents checked
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/python tools/dist.py check dist
	$(BIN)/python -m pytest -n 0 tests/test_project.py

dist-test: dist ## install both in new environments; run README's lines and the fast tests there
	$(BIN)/python tools/dist.py test dist

# Modules are compiled when first imported, and kept so: pip would compile all of PyTorch's, for two
# minutes, and uncompiled each process would take some ten seconds to start.
unexport PYTHONDONTWRITEBYTECODE

$(VENV)/installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing quickstudy[$*] into $(VENV); PyTorch alone is some 200 MB."
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV)
