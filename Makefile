# Two commands on a fresh machine do all the set-up: `make demo` and `make test`.
# CONTRIBUTING.md says what each check is for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE := checkpoints/demo-state
LOWEST := build/lowest
LOWEST_PYTEST := $(LOWEST)/bin/python -m pytest -W ignore::DeprecationWarning \
	-W ignore::PendingDeprecationWarning
# Parts of the suite that start servers, browsers and workers, or kill processes by the hundred.
SLOW_PARTS := crash course distributed service
SLOW_FILES := storms faults/test_kill.py test_encryption.py test_packaging.py test_plugins.py \
	test_samples.py test_store_parity.py
# The only tests of what repairs a batch; the others in tests/crash run without coverage.
DAMAGE := tests/crash/test_repair.py

.PHONY: demo lab test test-fast test-lowest lint notebooks bench lock clean

$(VENV)/base.done: requirements/torch.txt requirements/base.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/dev.done: $(VENV)/base.done requirements/dev.txt
	$(BIN)/python -m pip install --quiet -r requirements/dev.txt
	touch $@

$(VENV)/bench.done: $(VENV)/base.done requirements/bench.txt
	$(BIN)/python -m pip install --quiet -r requirements/bench.txt
	touch $@

demo: $(VENV)/base.done
	PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh $(STATE)

lab: $(VENV)/dev.done
	$(BIN)/lesson15 lab

notebooks: $(VENV)/dev.done
	$(BIN)/python tools/notebooks.py

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	rm -f .coverage .coverage.*
	COVERAGE_FILE=.coverage.core $(BIN)/pytest -n 2 --cov --cov-report= \
		tests $(SLOW_PARTS:%=--ignore tests/%)
	COVERAGE_FILE=.coverage.services $(BIN)/pytest --cov --cov-report= \
		tests/service tests/course tests/distributed
	COVERAGE_FILE=.coverage.damage $(BIN)/pytest -n 2 --cov --cov-report= $(DAMAGE)
	$(BIN)/coverage combine --quiet .coverage.core .coverage.services .coverage.damage
	$(BIN)/coverage report
	$(BIN)/python tools/coverage_gate.py
	$(BIN)/pytest tests/crash -n 2 $(DAMAGE:%=--ignore %)
	rm -rf notebooks/work
	$(BIN)/pytest --nbval-lax --nbval-cell-timeout=60 notebooks -n 2 --dist loadfile

test-fast: lint
	$(BIN)/pytest -n 2 tests $(SLOW_PARTS:%=--ignore tests/%) $(SLOW_FILES:%=--ignore tests/%)

# Warnings of deprecation are left out: old releases of libraries meet new ones of what they use.
test-lowest: $(LOWEST)/done
	$(LOWEST_PYTEST) -n 2 tests $(SLOW_PARTS:%=--ignore tests/%)
	$(LOWEST_PYTEST) tests/service tests/course tests/distributed

# The lowest versions that pyproject.toml allows of what lesson15 itself names, and the newest of the
# rest. torch comes first and by pip, as in $(VENV): uv need not find a build of it for this machine.
$(LOWEST)/done: pyproject.toml requirements/torch.txt $(VENV)/dev.done
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet -r requirements/torch.txt
	echo torch > $(LOWEST)/excluded.txt
	$(BIN)/uv pip compile --quiet --resolution lowest-direct --excludes $(LOWEST)/excluded.txt \
		$(foreach extra,chroma course distributed service dev,--extra $(extra)) \
		--python $(LOWEST)/bin/python --output-file $(LOWEST)/lowest.txt pyproject.toml
	$(LOWEST)/bin/python -m pip install --quiet --no-deps -r $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --no-deps --editable .
	$(LOWEST)/bin/python -m pip check
	touch $@

bench: $(VENV)/bench.done
	$(BIN)/python benchmarks/noop.py overhead
	$(BIN)/python benchmarks/noop.py scale
	$(BIN)/python -W ignore benchmarks/embedding.py
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/encryption.py
	$(BIN)/python benchmarks/widgets.py
	$(BIN)/python benchmarks/service.py
	$(BIN)/python benchmarks/distributed.py overhead

lock: $(VENV)/dev.done $(VENV)/bench.done
	$(BIN)/python tools/lock.py

clean:
	rm -rf $(VENV) $(STATE) build
