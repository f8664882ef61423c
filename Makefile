# make demo    a real dataset from local storage to a published record, on this machine
# make ui      the same sandbox with the Dagster UI
# make test    what a change is tried with, in minutes; needs no service installed beforehand
# make test-all the same and what takes longer: whole processes killed, each story through the reference PDS
# make faults  the long proofs: processes killed, answers lost, bytes changed; writes docs/reliability.md
#              (some of them: make faults ONLY=tests/faults/test_killed.py)
# make bench   how fast it is, beside its peers, in ten minutes; writes docs/performance.md
#              (with small data, in one minute: make bench-quick)
# make scale   what a hundred thousand datasets cost in Dagster, in half an hour; writes docs/scale.md
#              (with some hundreds, in a minute or two: make scale-quick)
# make browser Dagster's UI as people use it, in the Chromium that is installed; pictures in .artifacts/browser
#              (what failed the last time: make browser ONLY=--last-failed)
# make check   what CI checks besides the tests: format, lint, types, and who may import whom
# make clean   removes the environment and the sandbox with its data

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
# Groups of pyproject.toml that are installed with the environment: `make install WITH="bench browser"`.
WITH :=
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# Where this is set, each process that tests start compiles the project, and each worker rewrites all tests.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo ui test test-all faults bench bench-quick scale scale-quick browser check clean constraints install
.DEFAULT_GOAL := demo

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Making .venv with $$($(PYTHON) --version) (a minute, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip==26.3"
	@$(PIP) -e ".[aws,sandbox,ui,demo,celery,k8s,postgres]" $(patsubst %,--group %,dev $(WITH))
	@touch $@ $(WITH:%=$(READY)-%)

$(READY)-%: $(READY)
	@$(PIP) --group $*
	@touch $@

demo: $(READY)
	@$(BIN)/python -m atdata_pipelines.demo

ui: $(READY)
	@$(BIN)/python -m atdata_pipelines.demo ui

test: $(READY)
	@$(TEST)

test-all: $(READY)
	@$(TEST) -m "not faults and not browser"

faults: $(READY)
	@$(BIN)/python -m pytest -m "faults or measured" --reliability=docs/reliability.md $(ONLY)

bench: $(READY)-bench
	@$(BIN)/python -m benchmarks --write docs/performance.md

bench-quick: $(READY)
	@$(BIN)/python -m benchmarks --quick

scale: $(READY)
	@$(BIN)/python -m scaling --write docs/scale.md

scale-quick: $(READY)
	@$(BIN)/python -m scaling --quick

# With a cache of its own: other tests may run beside it.
browser: $(READY)-browser
	@$(BIN)/python -m pytest -m browser -rs -o cache_dir=.artifacts/browser-cache $(ONLY) tests/browser

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache --no-logo

constraints:
	@$(PYTHON) -m venv .constraints && .constraints/bin/python -m pip install --quiet --upgrade pip
	@.constraints/bin/python -m pip install --quiet ".[aws,sandbox,ui,demo,celery,k8s,postgres]" --group dev
	@{ head -n 2 constraints.txt; .constraints/bin/python -m pip freeze --exclude atdata-pipelines; } > .constraints/new
	@mv .constraints/new constraints.txt && rm -rf .constraints

clean:
	rm -rf .venv .sandbox .official-pds .artifacts build dist *.egg-info
