# Two commands on a fresh machine do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE := checkpoints/demo-state

.PHONY: demo lab test lint notebooks bench lock clean

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
	$(BIN)/coverage run -m pytest tests $(foreach part,crash course distributed service,--ignore tests/$(part))
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python tools/coverage_gate.py 95
	$(BIN)/pytest tests/crash -n 2
	$(BIN)/pytest tests/service tests/course tests/distributed
	rm -rf notebooks/work
	$(BIN)/pytest --nbval-lax --nbval-cell-timeout=60 notebooks -n 2 --dist loadfile

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
	rm -rf $(VENV) $(STATE)
