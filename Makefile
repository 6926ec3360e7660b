# Each target sets up .venv when it is missing.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
RUNS ?= runs
DEMO := --config configs/demo.yaml

.PHONY: install demo paper test lint benchmark clean

install: $(READY)

$(READY): requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $(READY)

# searches on built-in rooms, retrains what was found and no exchange, compares them and writes a report;
# called again, it goes on where it stopped
demo: $(READY)
	$(BIN)/python -m crosstalk demo --output $(RUNS)/demo

# the commands at the head of configs/papers/ROW.yaml, with ROOT as the data's folder, then our scores, with TABLE beside
# the published ones: make paper ROW=nyud_hrnet18 ROOT=/data/NYUD_MT TABLE=nyud_hrnet18
# EXTRA: options for all commands, such as EXTRA="--training.iterations 2" for a trial
paper: $(READY)
	@test -f configs/papers/$(ROW).yaml || { echo "error: ROW=$(ROW): expected one of $$(ls configs/papers | sed 's/.yaml//' | tr '\n' ' ')"; exit 2; }
	@test -d "$(ROOT)" || { echo "error: ROOT=$(ROOT) is no folder: expected that of the data"; exit 2; }
	grep '^#   python' configs/papers/$(ROW).yaml | sed -e 's|^#   python|$(BIN)/python|; s|--data.root ROOT|--data.root "$(ROOT)"|; s|--output runs/|--output $(RUNS)/|; s|--architecture runs/|--architecture $(RUNS)/|; s|--network.branches runs/|--network.branches $(RUNS)/|' -e "s|\$$| --resume $$EXTRA|" | sh -e
	@test ! -d $(RUNS)/$(ROW)/single_task || $(BIN)/python -m analysis compare $(if $(TABLE),--published $(TABLE)) \
		--baseline $(RUNS)/$(ROW)/single_task $$(ls -d $(RUNS)/$(ROW)/*/ | grep -v '/search/\|/tree/\|/single_task/')

test: $(READY)
	$(BIN)/python -m pytest -n 2

# retrain.py is read as a text: its name is that of the package retrain/
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file= --disallow-untyped-defs --ignore-missing-imports --follow-imports=silent --command "$$(cat retrain.py)"
	$(BIN)/lint-imports --no-cache

benchmark: $(READY)
	$(BIN)/python -m benchmarks.data --output $(RUNS)/benchmarks
	$(BIN)/python -m benchmarks.reading --output $(RUNS)/benchmarks
	$(BIN)/python -m benchmarks.supernet_step --output $(RUNS)/benchmarks
	$(BIN)/python -m benchmarks.local_attention --output $(RUNS)/benchmarks
	$(BIN)/python -m benchmarks.search_cost $(DEMO) --output $(RUNS)/benchmarks

# removes what the tools left, never a run
clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
