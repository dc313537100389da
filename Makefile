# Everything a developer types. Recipes are one or two lines; what needs more is a program of its own.
PYTHON ?= python3
PORT ?= 8080
KEEP ?=
ARGS ?=
KWOK ?=
CLUSTER ?= local
REGISTRY ?=
TAG ?= dev
# Without bytecode caches every start of Python compiles again, which the 0.2 s starts of replicas cannot afford.
export PYTHONDONTWRITEBYTECODE :=
PY := .venv/bin/python
DEV := PYTHONPATH=dev $(PY) -m

IMAGE_LOCK := --python-version 3.11 --python-platform x86_64-manylinux_2_36 --generate-hashes --no-header --no-annotate \
  --only-binary :all: -c requirements/dev.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint types imports fast coverage sim e2e bench bench-cluster explore golden docs chart lock clean
.PHONY: sim-results bench-reality bench-overload cluster cluster-down images demo-cluster programs e2e-cluster

help: ## List these commands
	@awk -F ':.*## ' '/^[-a-z0-9]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: .venv/.installed ## Put the locked environment into .venv (PYTHON=python3)

.venv/.installed: requirements/dev.txt pyproject.toml dev/setup.sh
	@sh dev/setup.sh "$(PYTHON)"

demo: setup ## Serve real models under SLOs and show it (KEEP=1 keeps it up, PORT=8080)
	@exec $(PY) examples/demo --port $(PORT) $(if $(KEEP),--keep)

cluster: setup ## A real two-node Kubernetes on this machine (KWOK=1000 adds fake nodes, CLUSTER=kind uses Docker)
	@CLUSTER=$(CLUSTER) $(DEV) cluster up $(if $(KWOK),--kwok $(KWOK))

cluster-down: setup ## Remove it and every trace of it
	@CLUSTER=$(CLUSTER) $(DEV) cluster down

images: setup ## Build the images (REGISTRY=... TAG=... pushes them)
	@$(DEV) cluster images $(if $(REGISTRY),--registry $(REGISTRY) --tag $(TAG))

demo-cluster: setup ## Install the chart on that cluster, and call real models through their Service URLs
	@$(DEV) cluster_demo

test: lint types imports fast programs coverage sim e2e e2e-cluster ## Everything that CI runs: linters, types, layers, all tests

lint: setup ## Style and the banned clock (ruff)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup ## mypy, strict
	$(PY) -m mypy

imports: setup ## The layers of the architecture (import-linter)
	.venv/bin/lint-imports

fast: setup ## The everyday suite: unit and property tests
	$(PY) -m pytest tests/unit tests/property -m "unit or property" -n logical --dist worksteal

programs: setup ## API server, scheduler, helm, Prometheus for the tests, built where they are not in the cache
	@$(DEV) cluster_e2e programs

coverage: setup ## Contract and golden tests, and with the unit tests the coverage of core/stoker
	$(PY) -m pytest -m "unit or contract or golden" --cov=core/stoker --cov-report=term:skip-covered --cov-fail-under=95

sim: setup ## Simulations against theory, optima against policies
	$(PY) -m pytest -m sim -n logical --dist worksteal

sim-results: setup ## Make published results again: pages, figures and charts of docs/results (some 10 minutes)
	$(PY) -m stoker_sim.results --list | xargs -P 2 -n 1 $(PY) -m stoker_sim.results
	$(PY) -m stoker_sim.results --index

e2e: setup ## Tests that start `stoker serve` as a user would
	$(PY) -m pytest -m e2e

e2e-cluster: setup ## The same on a real Kubernetes: KUBECONFIG's, or the one of `make cluster` (needs root and Debian)
	@$(DEV) cluster_e2e

bench: setup ## Measure: added latency, requests per second, memory; nginx as the limit; then the simulator beside simpy
	$(PY) -m bench
	$(PY) -m bench.simulator

bench-cluster: setup ## The same for Kubernetes: operator, ledger, burst of pods, extender, cold starts (half an hour)
	@$(PY) -m bench.cluster all

bench-reality: setup ## Simulation against reality: the same arrivals live and simulated (50 minutes; see bench/reality)
	@$(PY) -m bench.reality --page docs/results/reality.md --json docs/results/reality.json $(ARGS)

bench-overload: setup ## Overload, live: 0.5 to 10 times the capacity, retries, tenants, dead functions (40 minutes; needs two cores)
	@$(PY) -m bench.overload all $(ARGS)

explore: setup ## Property tests on examples never drawn before, ten times over
	for round in 1 2 3 4 5 6 7 8 9 10; do STOKER_EXPLORE=1 $(PY) -m pytest -q -m property || exit 1; done

golden: setup ## Rewrite the golden files; review the difference
	STOKER_GOLDEN=1 $(PY) -m pytest -m golden

docs: setup ## Regenerate docs/reference
	$(PY) -m stoker_cli.reference > docs/reference/metrics.md
	$(PY) -m stoker_cli.field_reference docs/reference

chart: setup ## Bring the chart's copies and generated files up to date with crds/ and the settings
	@$(DEV) chart

lock: ## Regenerate requirements/ (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra cli --extra examples --extra operator --extra scheduler \
	  --override requirements/overrides.txt pyproject.toml requirements/dev.in -o requirements/dev.txt
	uv pip compile $(IMAGE_LOCK) --extra operator --extra node --extra gateway --extra scheduler pyproject.toml \
	  -o requirements/images/stoker.txt
	uv pip compile $(IMAGE_LOCK) requirements/images/simulated-gpus.in -o requirements/images/simulated-gpus.txt
	for name in example-ocr example-vad; do \
	  uv pip compile $(IMAGE_LOCK) --override requirements/overrides.txt requirements/images/$$name.in \
	    -o requirements/images/$$name.txt || exit 1; done

clean: ## Remove the environment and all caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage dist build
