# `make eval` and `make test` need Python 3.11 or later, make and git; they set up the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: eval test test-slow test-container lint setup clean

eval: $(VENV)/.installed
	$(RUN) run_eval.py

test: lint
	$(RUN) -m pytest -m "not slow and not container"

test-slow: $(VENV)/.installed-tests
	$(RUN) -m pytest -m "slow and not container"

test-container: $(VENV)/.installed-tests
	$(RUN) -m pytest -m container

lint: $(VENV)/.installed-tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

setup: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.installed-tests: tests/requirements.txt training/requirements.txt $(VENV)/.installed
	$(RUN) -m pip install --quiet -r tests/requirements.txt -r training/requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
