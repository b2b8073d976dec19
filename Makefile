# The whole interface for newcomers and developers. Assumes Debian 12, root and package registries; installs the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
RUN := .venv/.run-$(shell sha256sum requirements.lock pyproject.toml | sha256sum | cut -c1-16)
DEV := .venv/.dev-$(shell sha256sum requirements-dev.lock pyproject.toml | sha256sum | cut -c1-16)
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

up: $(RUN) ## Install what is missing, start the cloud, launch an instance to log in to
	@tools/step "system packages" tools/install-packages run
	@tools/step "machine images" pileus ami build tiny debian-12
	@tools/step "cloud" pileus up
	@tools/step "first instance" pileus first-instance
	@echo 'Point the AWS CLI at the cloud:'
	@echo '  eval "$$($(BIN)/pileus env)"        # or: $(BIN)/pileus env --profile pileus'
	@echo '  aws ec2 describe-instances        # the AWS CLI is in $(BIN) after: make test'

down: $(RUN) ## Stop the cloud; guests run on
	@pileus down

test: $(DEV) ## Run everything that must pass
	@tools/step "system packages" tools/install-packages run test
	@tools/test

check: $(DEV) ## Lint, types, import contracts, unit tests
	@tools/check

bench: $(DEV) ## Print the numbers
	@tools/step "system packages" tools/install-packages run test
	@python -m bench

lock: $(DEV) ## Resolve the dependencies anew
	@tools/lock

docs: $(DEV) ## Write the generated pages of docs/
	@python -m tools.coverage

clean: ## Remove what was built here; the data directory stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench tools -name __pycache__ -prune -exec rm -rf {} +

$(RUN):
	@tools/step "python environment" tools/install-python requirements.lock
	@touch $@

$(DEV):
	@tools/step "python environment" tools/install-python requirements-dev.lock
	@touch $@ $(RUN)

.PHONY: help up down test check bench lock docs clean
