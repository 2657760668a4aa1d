# make demo         install into .venv and run the main experiment at its quick size
# make test         install, lint, type-check and test
# make acceptance   the slow tests: every study's full quick size, side by side; then faults and grids, file by file
# make results      the long runs behind docs/results, one after the other, at low priority; resumes (hours);
#                   ONLY=replication takes those of one study, ONLY=labels-small one run
# make site         the documentation as a site, in site/; strict: a broken link fails
# make lint         ruff, mypy and pyright alone
# make audit-dependencies   known advisories on the versions of constraints.txt, by pip-audit in .venv-audit; it says so
#                   where no data base of advisories is reached
#
# VENV=/path        another place for the environment
# PYTHON=/path      another Python than the first of python3.13, python3.12, python3.11, python3 that fits
# CONSTRAINTS=0|1   install the newest versions that pyproject.toml allows, or those of constraints.txt. The default
#                   is 1 in CI and for the tests, whose linters and figures belong to those versions.

VENV ?= .venv
CANDIDATES := python3.13 python3.12 python3.11 python3
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
COMPLETE := import ensurepip; import venv; $(NEW_ENOUGH)
first = $(shell for p in $(CANDIDATES); do if $$p -c '$(1)' 2>/dev/null; then echo $$p; break; fi; done)
# A complete one first; if there is none, scripts/setup_env.py says what the other lacks.
PYTHON ?= $(or $(call first,$(COMPLETE)),$(call first,$(NEW_ENOUGH)))

RUN := $(VENV)/bin/python
pinned = $(if $(filter 1,$(1)),--pinned)

.PHONY: demo test acceptance results site lint audit-dependencies environment dev-environment python

demo: environment
	"$(RUN)" -m robustray run attack-sweep --size quick

test: lint
	"$(RUN)" -m pytest -m "not acceptance" --numprocesses auto --dist loadfile

acceptance: dev-environment
	"$(RUN)" -m pytest -m acceptance --timeout 1500 --numprocesses auto --dist loadgroup \
	    tests/contract tests/tasks tests/acceptance/test_quick.py
	"$(RUN)" -m pytest -m acceptance --timeout 1500 --numprocesses auto --dist loadfile tests \
	    --ignore tests/contract --ignore tests/tasks --ignore tests/acceptance/test_quick.py

results: environment
	"$(RUN)" scripts/results.py $(ONLY)

site: python
	@"$(PYTHON)" scripts/setup_env.py --venv "$(VENV)" --extra docs $(call pinned,$(or $(CONSTRAINTS),$(if $(filter-out 0 false,$(CI)),1)))
	"$(RUN)" -m mkdocs build --strict

lint: dev-environment
	"$(RUN)" -m ruff check .
	"$(RUN)" -m ruff format --check .
	"$(RUN)" -m mypy robustray tests scripts
	"$(RUN)" -m pyright --pythonpath "$(RUN)"

audit-dependencies: python
	@"$(PYTHON)" scripts/audit_dependencies.py

environment: python
	@"$(PYTHON)" scripts/setup_env.py --venv "$(VENV)" $(call pinned,$(or $(CONSTRAINTS),$(if $(filter-out 0 false,$(CI)),1)))

dev-environment: python
	@"$(PYTHON)" scripts/setup_env.py --venv "$(VENV)" --extra dev $(call pinned,$(or $(CONSTRAINTS),1))

python:
	@test -n "$(PYTHON)" || { echo "robustray: Python 3.11 or newer is needed: apt-get install python3 python3-venv" \
	    "(or python3.11 python3.11-venv), or name one with make PYTHON=/path/to/python3" >&2; exit 2; }
