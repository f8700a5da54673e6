PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check dist clean

demo: $(VENV)/installed-demo ## install, then meta-train, meta-test and draw a picture
	$(BIN)/quickstudy demo

test: $(VENV)/installed-dev ## the tests
	$(BIN)/python -m pytest

check: $(VENV)/installed-dev ## all that CI runs: format, lint, types, imports, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(MAKE) test

dist: $(VENV)/installed-dev ## the source distribution and the wheel, their contents checked
	$(BIN)/python -m pytest -n 0 tests/test_project.py
	$(BIN)/python -m build --no-isolation --outdir dist .

$(VENV)/installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing quickstudy[$*] into $(VENV); PyTorch alone is some 200 MB."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV)
