# Everything runs in .venv, made from requirements-dev.txt on first use.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WHEELS := . $(patsubst %/pyproject.toml,./%,$(wildcard plugins/*/pyproject.toml)) ./inferlets ./inferlets/sdk
CODE   := pie_core plugins inferlets tests benchmarks
FIRST  ?= 0
SEEDS  ?= 1000
PROCESSES ?= 1

.PHONY: run test check lint types bench bench-techniques reference pictures wheels simulate simulate-planted clean train-model evaluate-model

run: $(STAMP)  ## ask the bundled model for a capital
	$(BIN)/pie-core run inferlets/text_completion.py -- --prompt "The capital of France is"

test: $(STAMP)  ## the whole test suite, on all processors; Triton is imported once, so its interpreter is asked for here
	OMP_NUM_THREADS=1 TRITON_INTERPRET=1 $(BIN)/python -m pytest -n logical --dist worksteal

check: lint types test  ## what CI runs

lint: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

types: $(STAMP)
	$(BIN)/mypy

pictures: $(STAMP)  ## of the web page, in docs/pictures; needs chromium
	OMP_NUM_THREADS=1 $(BIN)/python docs/pictures/page.py

bench: $(STAMP)  ## what programs cost beside a loop, see benchmarks/README.md; ARGS="--widths 1,8 --dtype float32"
	$(BIN)/python benchmarks/decode.py --rounds 3 $(ARGS)

bench-techniques: $(STAMP)  ## every technique against its baselines; ARGS="speculative_decoding --clients 1"
	cd benchmarks && ../$(BIN)/python -m techniques $(ARGS)

reference: $(STAMP)  ## docs/reference, from the declarations
	$(BIN)/python -m pie_core.reference docs/reference

wheels: $(STAMP)  ## all distributions, into dist/; one holds the interpreter, built and compiled
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist $(WHEELS)

simulate: $(STAMP)  ## random worlds of inferlets in virtual time: SEEDS=1000 FIRST=0 PROCESSES=1, or ARGS="--seed 17 --trace"
	$(BIN)/python -m pie_core.testing.simulation --first $(FIRST) --seeds $(SEEDS) --processes $(PROCESSES) $(ARGS)

simulate-planted: $(STAMP)  ## the first seed that finds each planted bug
	$(BIN)/python tests/simulation/planted.py

train-model: $(STAMP)  ## train the bundled model again, from nothing
	$(BIN)/python plugins/model_pico/training/train.py

evaluate-model: $(STAMP)  ## held-out accuracy of the bundled model on texts and pictures, skill by skill
	$(BIN)/python plugins/model_pico/training/evaluate.py

$(STAMP): requirements-dev.txt $(wildcard pyproject.toml plugins/*/pyproject.toml inferlets/pyproject.toml inferlets/sdk/pyproject.toml)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
