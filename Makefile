# Each target sets up .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
RUNS ?= runs

.PHONY: install demo test lint benchmark clean

install: $(READY)

$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $(READY)

# searches on the built-in scenes, in minutes on a CPU; called again, it goes on where it stopped
demo: $(READY)
	$(BIN)/python search.py --config configs/demo.yaml --output $(RUNS)/demo --resume

test: $(READY)
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(READY)
	$(BIN)/python -m benchmarks.data --output $(RUNS)/benchmarks

# removes what the tools left, never a run
clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
