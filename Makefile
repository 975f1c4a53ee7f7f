# Everything that a user runs. `make` alone lists the targets.

PYTHON  ?= python3
PROFILE ?= $(or $(CXR_PROFILE),demo)
# CUDA=1 installs TensorFlow with its CUDA libraries, for a machine with an NVIDIA GPU.
CUDA    ?=

# Processes that run the tests; each trains models, so more of them need memory.
JOBS    ?= 2

VENV    := .venv
BIN     := $(VENV)/bin
# One stamp per variant of the set-up: changed requirements install again, others are reused.
READY   := $(VENV)/.installed$(if $(CUDA),-cuda)
JAX     := $(READY)-jax
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help run fetch test jax lab serve soak bench accuracy campaign weights notebooks html deck readme lint format preflight environment constraints clean
.DELETE_ON_ERROR:

help: ## list the targets
	@echo "Chest X-ray pathology detection. Research software, not a medical device."
	@echo
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo
	@echo "Settings: PROFILE=demo|first_archive|full, PYTHON=python3.12, CUDA=1 (GPU machines),"
	@echo "and every CXR_<FIELD> variable, such as CXR_EPOCHS=4; README.md lists them."

run: $(READY) ## set up, then run the four notebooks (PROFILE=full is the real thing)
	$(BIN)/python -m cxr run --profile $(PROFILE)

fetch: $(READY) ## fetch and verify records and films, with progress (PROFILE=full: 45 GB)
	$(BIN)/python -m cxr fetch --profile $(PROFILE)

# The processes share the cores as they are: more threads in each would only wait for one another.
test: export TF_NUM_INTRAOP_THREADS = 1
test: export TF_NUM_INTEROP_THREADS = 1
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: lint $(JAX) ## set up, then run the whole test suite
	$(BIN)/python -m pytest -m "not soak" --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

lab: $(READY) ## open JupyterLab on the chosen profile
	CXR_PROFILE=$(PROFILE) $(BIN)/jupyter lab

serve: $(READY) ## open a page on this machine that films are dropped on
	$(BIN)/python -m cxr serve --profile $(PROFILE)

soak: $(READY) $(JAX) ## long, seeded campaigns: kills, faults, mutated files
	$(BIN)/python -m pytest -m soak

bench: $(READY) ## measure every performance claim; prints the tables
	@for script in benchmarks/*.py; do echo; echo "== $$script"; $(BIN)/python $$script || exit 1; done

accuracy: $(READY) ## train and evaluate on the real films of SHARED_DIR; keeps the numbers
	$(BIN)/python benchmarks/accuracy/real_films.py

weights: $(READY) ## learn the demo's weights from drawings, and measure what they are worth
	$(BIN)/python benchmarks/accuracy/phantom_weights.py

campaign: $(READY) ## compare recipes on the real films of SHARED_DIR, cross-validated by patient
	$(BIN)/python benchmarks/accuracy/campaign.py

notebooks: $(READY) ## execute the committed notebooks on the demo (needs Chromium)
	$(BIN)/python -m cxr notebooks

html: $(READY) ## write the results as a site that needs no network
	$(BIN)/python -m cxr html --profile $(PROFILE)

deck: $(READY) ## write the results as slides (RESULTS=<folder with tables>)
	$(BIN)/python -m cxr deck --profile $(PROFILE) $(RESULTS)

readme: $(READY) ## write the README's results, pictures and slides (needs Chromium)
	$(BIN)/python -m cxr readme

preflight: $(READY) ## name the GPU and the precision, rehearse the training
	$(BIN)/python -m cxr preflight --profile $(PROFILE)

lint: $(JAX) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

environment: $(READY) ## only set up

jax: $(JAX) ## add JAX, for KERAS_BACKEND=jax and for training on several machines

# An interpreter without TensorFlow wheels, or without venv, is refused before any download.
$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	{ echo "cxr: TensorFlow 2.21 needs Python 3.11 to 3.13, but $(PYTHON) is $$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo not installed); install one of them and run, for example, make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	{ echo "cxr: $(PYTHON) has no venv module; install it (on Debian and Ubuntu: apt install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'))" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt
	$(if $(CUDA),$(BIN)/python -m pip install --quiet "tensorflow[and-cuda]" -c constraints.txt)
	@touch $@

$(JAX): $(READY) requirements-jax.txt constraints.txt
	$(BIN)/python -m pip install --quiet -r requirements-jax.txt -c constraints.txt
	$(if $(CUDA),$(BIN)/python -m pip install --quiet "jax[cuda12]" -c constraints.txt)
	@touch $@

constraints: $(READY) ## resolve requirements.txt anew into constraints.txt
	$(BIN)/python -m pip install --quiet uv
	echo "tensorflow[and-cuda]" | $(BIN)/uv pip compile --quiet --universal --upgrade \
	    --python-version 3.11 --no-emit-package cxr --no-header --no-annotate \
	    --output-file constraints.txt requirements.txt requirements-jax.txt -

clean: ## remove the environment and caches; never data, subsets, runs or results
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
