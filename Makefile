# What a person runs. `make run` and `make test` are all that a newcomer needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
SCALE ?= 0.1
MEMORY ?= 8GB
BIN := .venv/bin
INSTALLED := .venv/.installed
# What docs/ shows of what the browser tests see.
PICTURES := graph-open launch-a-day backfill gate_landed plot-candidates-listings plot-models-listing_counterfeit mlflow-version \
    mlflow-runs mlflow-comparison card lead report

# Nothing phones home, and floats do not depend on how many cores a machine has.
export DAGSTER_DISABLE_TELEMETRY := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export GX_ANALYTICS_ENABLED := false
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run test test-all browser screenshots lint lock bench bench-agora bench-brushing bench-calibration bench-detection bench-evaluate bench-leads bench-pictures bench-product-codes bench-rings bench-test-buys simulate-year ui install

help:
	@echo "make run       the demo marketplace through the whole pipeline, from nothing to published lists"
	@echo "make test      the tests (20 to 35 minutes on two cores); make test-all also runs the slow suites"
	@echo "make screenshots   the pictures in docs/images, from the browser tests"
	@echo "make ui        Dagster's and MLflow's pages on this machine"
	@echo "make lint      formatting, types, who may import whom, SQL style"
	@echo "make bench SCALE=0.1   seconds, rows, memory and bytes by stage, as JSON and a plot"
	@echo "make bench-detection   what each signal finds on the demo's truth, and what is lost without it (an hour and more)"
	@echo "make bench-brushing   how much of the brushing is found, against the demo's truth (an hour and more)"
	@echo "make bench-calibration   how far scores are probabilities, against the demo's truth (an hour)"
	@echo "make bench-evaluate   how long touchstone evaluate takes on a network of half a million edges (four minutes)"
	@echo "make bench-leads [HOME_OF=.touchstone]   whether leads are the rings there are, and the worst come first, against the demo's truth"
	@echo "make bench-pictures   how well logos and texts are found inside photographs (a quarter of an hour)"
	@echo "make bench-product-codes   how well product codes and compatible products are recognised, on the demo's truth (a quarter of an hour)"
	@echo "make bench-rings   how well rings are found, against the demo's truth"
	@echo "make bench-test-buys   how well test buys estimate the prevalence, against the demo's truth (half an hour)"
	@echo "make simulate-year   a year of test buys, with and without learning from them (many hours; resumes where it was interrupted)"
	@echo "make bench-agora [YEAR=2014]   how a real market's goods are ranked (needs its tables, see TOUCHSTONE_SHARED; 3 minutes)"
	@echo "make lock      rebuilds requirements.lock from pyproject.toml"

install: $(INSTALLED)

# A `python3.12` on the PATH may be a shim that fails, so each candidate has to run and bring venv and pip.
$(INSTALLED): requirements.lock pyproject.toml
	@probe='import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))'; \
	for python in $(PYTHON) python3.13 python3.12 python3 /usr/bin/python3.13 /usr/bin/python3.12 \
	    /usr/local/bin/python3.13 /usr/local/bin/python3.12 $$(ls -d $$HOME/.pyenv/versions/3.1[23].*/bin/python 2>/dev/null); do \
	  if "$$python" -c "$$probe" >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Touchstone needs Python 3.12 or 3.13 with venv, and none on this machine runs." >&2; \
	  echo "Install one (Debian and Ubuntu: apt-get install python3.13 python3.13-venv; macOS: brew install python@3.13)" >&2; \
	  echo "or name yours: make run PYTHON=/path/to/python3.13" >&2; \
	  exit 1; \
	fi; \
	echo "Installing into .venv with $$("$$found" --version)"; \
	rm -rf .venv && "$$found" -m venv .venv \
	&& $(BIN)/pip install --quiet --no-deps --require-hashes -r requirements.lock \
	&& $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable . \
	&& $(BIN)/python -m compileall -q orchestration ml expectations touchstone \
	&& $(BIN)/python -m orchestration.dbt_runner \
	&& touch $(INSTALLED) \
	&& { sync -f .venv 2>/dev/null || sync; }  # else the first run shares the disk with what is left to write

run: $(INSTALLED)
	@$(BIN)/touchstone run --approve-if-passing

ui: $(INSTALLED)
	@$(BIN)/touchstone ui

test: $(INSTALLED) browser
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow"

# The faults' grid is one file of some hundred minutes, so its cases are distributed one by one.
test-all: $(INSTALLED) browser
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/faults
	@$(BIN)/pytest -n 3 --dist load tests/faults

# A Chromium for the browser tests: one that is there, else Playwright's own, else Debian's. Without any, the tests fail and
# say what to do; the others run.
browser: $(INSTALLED)
	@chromium="$(BIN)/python tests/browser/chromium.py"; \
	$$chromium 2>/dev/null || { $(BIN)/playwright install chromium-headless-shell && $$chromium; } \
	|| { [ "$$(id -u)" = 0 ] && apt-get install --yes --quiet chromium && $$chromium; } || true

screenshots: $(INSTALLED) browser
	@folder=$$(mktemp -d); \
	TOUCHSTONE_SCREENSHOTS=$$folder $(BIN)/pytest -q -m "not slow" tests/browser \
	&& for name in $(PICTURES); do cp $$folder/$$name.png docs/images/; done; rm -r $$folder

lint: $(INSTALLED)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/sqlfluff lint --disable-progress-bar dbt_project/models
	@$(BIN)/python -m expectations.contract --check

lock: $(INSTALLED)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.12 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock

bench: $(INSTALLED)
	@$(BIN)/python benchmarks/pipeline.py --scale $(SCALE) --memory-limit $(MEMORY)

# Over check seeds until each rate rests on 500 entities; docs/detection.md is what it prints.
bench-detection: $(INSTALLED)
	@$(BIN)/python benchmarks/detection.py --scale $(SCALE)

bench-brushing: $(INSTALLED)
	@$(BIN)/python benchmarks/brushing.py

bench-calibration: $(INSTALLED)
	@$(BIN)/python benchmarks/calibration.py

bench-evaluate: $(INSTALLED)
	@$(BIN)/python benchmarks/own_labels.py

# Of a demo home that is rated.
bench-leads: $(INSTALLED)
	@$(BIN)/python benchmarks/leads.py $(if $(HOME_OF),--home $(HOME_OF))

bench-pictures: $(INSTALLED)
	@$(BIN)/python benchmarks/pictures.py

bench-product-codes: $(INSTALLED)
	@$(BIN)/python benchmarks/product_codes.py --scale $(SCALE)

bench-rings: $(INSTALLED)
	@$(BIN)/python benchmarks/rings.py --scale $(SCALE)

bench-test-buys: $(INSTALLED)
	@$(BIN)/python benchmarks/test_buys.py --scale $(SCALE)

simulate-year: $(INSTALLED)
	@$(BIN)/python benchmarks/simulate_year.py

# On the tables below TOUCHSTONE_SHARED (../shared by default), the last year in them; docs/agora.md is what it prints.
bench-agora: $(INSTALLED)
	@$(BIN)/python benchmarks/agora.py $(if $(YEAR),--year $(YEAR)) $(if $(DATA),--data $(DATA))
