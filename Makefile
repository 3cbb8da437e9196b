# Start with `make demo` and `make test`; `make help` lists all targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
PROCESSES ?= 3
DEMO_ARGS ?=
CHAOS_ARGS ?=
FUZZ_ARGS ?=
FLEET_ARGS ?=
ALERTS_ARGS ?=
ROW ?=
CHART ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check bench chaos fleet alerts fuzz docs wheel audit image chart tools rivals constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## broker, worker and sample events on this machine; Ctrl-C ends it
	@$(BIN)/gateway demo $(DEMO_ARGS)

test: $(VENV)/.dev ## all tests, in PROCESSES=3, with branch coverage of the core
	$(BIN)/pytest -n $(PROCESSES) --dist worksteal --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

check: $(VENV)/.dev ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.dev ## cost of events and streams on Apache Kafka, in 12 minutes; ROW=delivery for one row, CHART=1
	@$(BIN)/python -m tests.tools.bench $(ROW) $(if $(CHART),--chart)

chaos: $(VENV)/.dev ## random failures for 3 minutes, every event accounted for; CHAOS_ARGS="--seconds 600 --seed 7"
	@$(BIN)/python -m tests.tools.chaos $(CHAOS_ARGS)

fleet: $(VENV)/.dev ## rolling deploy and reconnect storm behind nginx with thousands of streams, in 5 minutes
	@$(BIN)/python -m tests.tools.fleet $(FLEET_ARGS)

alerts: $(VENV)/.dev ## each Prometheus alert fires by its fault and resolves, in 10 minutes; ALERTS_ARGS="--only GatewayLagging"
	@$(BIN)/python -m tests.tools.alerts $(ALERTS_ARGS)

fuzz: $(VENV)/.fuzz ## hostile input to parsers and to a live worker for 3 minutes; FUZZ_ARGS="--seconds 900 --seed 7"
	@$(BIN)/python -m tests.tools.fuzz $(FUZZ_ARGS)

docs: $(VENV)/.dev ## build the documents as a site, in build/site; a warning fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build && echo "build/site/index.html"

wheel: $(VENV)/.dev ## build wheel and sdist, in dist
	@$(BIN)/python -m build -o dist

audit: $(VENV)/.dev ## known vulnerabilities in the pinned packages (pip-audit), and a bill of materials
	@$(BIN)/python -m tests.tools.audit --sbom build/sbom.json

image: $(VENV)/.dev ## run the build steps of the image and its process, in a minute; needs bubblewrap
	IMAGE=1 $(BIN)/pytest tests/deploy/test_image.py

chart: tools ## lint the Helm chart and package it, in dist
	@.tools/helm lint --strict --kube-version 1.31.0 deploy/helm
	@.tools/helm package deploy/helm --destination dist

tools: .tools/helm .tools/actionlint ## build helm and actionlint from their Go modules, in .tools

.tools/helm:
	@GOBIN='$(CURDIR)/.tools' go install helm.sh/helm/v3/cmd/helm@v3.22.0

.tools/actionlint:
	@GOBIN='$(CURDIR)/.tools' go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

rivals: $(VENV)/.dev ## build the other servers of `make bench ROW=rivals`, in .tools, and try each with a few streams
	@$(BIN)/python -m tests.tools.bench.installation

constraints: ## pin the newest versions of everything that pyproject.toml allows
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install -q '.[demo,dev,docs,fuzz,kerberos,tracing]'
	build/constraints/bin/pip freeze --exclude kafka-sse-gateway | grep -E '^[A-Za-z0-9_.-]+==' > constraints.txt
	rm -rf build/constraints

clean: ## remove everything that make builds, the virtual environment and Kafka included
	rm -rf $(VENV) .tools .kafka .kafka.lock .identity .identity.lock .clients .writers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# One stamp for each set of packages: pip runs again only when the requirements have changed.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV) …"
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[demo,dev,docs]'
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e ".[kerberos]" 2>/dev/null || echo "gssapi cannot be built here: the tests of Kerberos are skipped. It needs gcc, python3-dev and libkrb5-dev."
	@touch $@ $(VENV)/.demo

$(VENV)/.fuzz: pyproject.toml constraints.txt $(VENV)/.dev
	@$(BIN)/pip install -q --disable-pip-version-check --only-binary atheris -c constraints.txt -e '.[demo,dev,docs,fuzz]' || echo "atheris cannot be installed here."
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
