# Each target installs what it needs, the first time.
# make demo    a real dataset from local storage to a published record, on this machine
# make ui      the same sandbox with the Dagster UI
# make test    what a change is tried with, in minutes; needs no service installed beforehand
# make test-all the same and what takes longer: whole processes killed, each story through the reference PDS
# make faults  the long proofs: processes killed, answers lost, bytes changed; writes docs/reliability.md
#              (some of them: make faults ONLY=tests/faults/test_killed.py)
# make bench   how fast it is, beside its peers, in ten minutes; writes docs/performance.md, and docs/scale.md anew
#              (with small data, in one minute: make bench-quick)
# make scale   what a hundred thousand datasets cost in Dagster, in half an hour; writes docs/scale.md
#              (with some hundreds, in a minute or two: make scale-quick)
# make browser Dagster's UI as people use it, in the Chromium that is installed; pictures in .artifacts/browser
#              (what failed the last time: make browser ONLY=--last-failed)
# make docs    the site of docs/ in .artifacts/site; fails where a link is dead
# make check   what CI checks besides the tests: format, lint, types, and who may import whom
# make clean   removes the environment and the sandbox with its data

# A version for which everything has wheels, where there is one; else any that is new enough.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# uv takes seconds where pip takes minutes. What it cannot do here (no wheel for this machine, an index that only pip's
# configuration names), pip does.
DEMO := -e ".[sandbox,demo]"
UI := -e ".[sandbox,demo,ui]"
DEV := -e ".[aws,sandbox,demo,ui,celery,k8s,postgres]" --group dev
add = $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt $(1) || \
	{ echo "uv did not do it; pip does, and takes longer"; $(PIP) $(1); }
# Groups of pyproject.toml that are installed with the environment: `make install WITH="bench browser"`.
WITH :=
# Tests wait for half of their time; those that take longer bring processes of their own, so fewer run at a time.
TEST := $(BIN)/python -m pytest -n 3 --dist loadfile
# Where this is set, each process that tests start compiles the project, and each worker rewrites all tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo ui test test-all faults bench bench-quick scale scale-quick browser docs check clean constraints install
.DEFAULT_GOAL := demo

install: $(READY)-dev $(WITH:%=$(READY)-%)

# What the demo needs. What else there is, the targets that need it add.
$(READY): pyproject.toml core/pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version), and installing what the demo needs (half a minute, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "  uv, which installs the rest"
	@$(PIP) uv
	@$(call add,pip $(DEMO))
	@touch $@

$(READY)-ui: $(READY)
	@echo "Installing Dagster's UI (once)"
	@$(call add,$(UI))
	@touch $@

$(READY)-dev: $(READY)
	@echo "Installing what tests and checks need (1 GB, once)"
	@$(call add,$(DEV))
	@touch $@ $(READY)-ui

# By pip: torch comes from where pip is told to look, which may have a build without CUDA.
$(READY)-bench $(READY)-browser $(READY)-formats: $(READY)-%: $(READY)-dev
	@echo "Installing the group $* (once)"
	@$(PIP) --group $*
	@touch $@

$(READY)-docs: $(READY)
	@echo "Installing what makes the site (once)"
	@$(call add,--group docs)
	@touch $@

demo: $(READY)
	@$(BIN)/python -m atdata_pipelines.demo

ui: $(READY)-ui
	@$(BIN)/python -m atdata_pipelines.demo ui

test: $(READY)-dev
	@$(TEST)

test-all: $(READY)-dev
	@$(TEST) -n 2 -m "not faults and not browser"

faults: $(READY)-dev
	@$(BIN)/python -m pytest -m "faults or measured" --reliability=docs/reliability.md $(ONLY)

bench: $(READY)-bench
	@$(BIN)/python -m benchmarks --write docs/performance.md
	@$(BIN)/python -m scaling --rewrite docs/scale.md

bench-quick: $(READY)-dev
	@$(BIN)/python -m benchmarks --quick

scale: $(READY)-dev
	@$(BIN)/python -m scaling --write docs/scale.md

scale-quick: $(READY)-dev
	@$(BIN)/python -m scaling --quick

# With a cache of its own: other tests may run beside it.
browser: $(READY)-browser
	@$(BIN)/python -m pytest -m browser -rs -o cache_dir=.artifacts/browser-cache $(ONLY) tests/browser

# First the pages that are made from the code.
docs: $(READY)-docs
	@$(BIN)/python -m pages.reference
	@$(BIN)/python -m pages.site

check: $(READY)-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache --no-logo

constraints:
	@$(PYTHON) -m venv .constraints && .constraints/bin/python -m pip install --quiet --upgrade pip
	@.constraints/bin/python -m pip install --quiet ./core ".[aws,sandbox,ui,demo,celery,k8s,postgres]" --group dev --group docs --group formats --group drawing uv
	@{ head -n 2 constraints.txt; .constraints/bin/python -m pip freeze --all --exclude atdata-pipelines \
		--exclude atdata-core --exclude setuptools; } > .constraints/new
	@mv .constraints/new constraints.txt && rm -rf .constraints

clean:
	rm -rf .venv .sandbox .official-pds .artifacts build core/build dist *.egg-info
