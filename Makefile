# `make run` and `make test` need git, make and Python 3.11 to 3.13; everything else they install themselves.
PYTHON ?= $(shell for v in 3.11 3.12 3.13; do p=$$(command -v python$$v) && $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Options for pip, such as an index of your own.
PIP_OPTIONS ?=
# Options for `make run`, such as --set adaptation.epochs=1; `.venv/bin/graftline adapt --help` shows all.
RUN_OPTIONS ?=
# Options for `make team`, such as --workers 4; `.venv/bin/graftline team --help` shows all.
TEAM_OPTIONS ?=
# Options for `make bench`, such as --rows 400; `.venv/bin/python -m benchmarks.speed --help` shows all.
BENCH_OPTIONS ?=
# setuptools advises at each editable installation not to name a folder like the package. Ours is the package.
KNOWN := -W "ignore:Editable installation"
# What no command of ours imports, or one file of it: the others are compiled by whoever imports them after all.
NEVER_IMPORTED := /(tests?|testing|transformers/models|rllib|databricks|apprise|fontTools|altair|pip|pygments/lexers)/
# Two more than CI's machine has cores: tests wait for servers and processes to start. Which tests
# stay together says tests/conftest.py.
WORKERS := --numprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: run team test test-fast test-long check docs bench lock chromium postgres clean

run: $(STAMP)
	@$(BIN)/graftline adapt $(RUN_OPTIONS)

# Postgres, S3, MLflow with accounts, Prefect, the deployments and two workers, from this folder, until Ctrl-C.
team: $(STAMP) postgres
	@$(BIN)/graftline team $(TEAM_OPTIONS)

test: $(STAMP) chromium postgres
	@$(BIN)/python -m pytest $(WORKERS) -m "not long"

# What a change to processes, releases or kinds of data is worth waiting for.
test-long: $(STAMP) chromium postgres
	@$(BIN)/python -m pytest $(WORKERS) -m long

test-fast: $(STAMP)
	@$(BIN)/python -m pytest $(WORKERS) -m "not full and not long"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A link into the void, a missing anchor or page ends it. `.venv/bin/zensical serve` shows the pages while you write.
docs: $(STAMP)
	$(BIN)/zensical build --strict

bench: $(STAMP)
	$(BIN)/python -m benchmarks.speed $(BENCH_OPTIONS)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "graftline: found no Python 3.11, 3.12 or 3.13; install one or name it: make PYTHON=/path/to/python run"; exit 2; }
	@test -x $(BIN)/python || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the $$(grep -c '^[a-z].*==' requirements.lock) packages of requirements.lock into $(VENV): some minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile $(PIP_OPTIONS) -r requirements.lock
	@# Which pip does on one core. Some packages bring files that are no Python of this version, and a third of all is
	@# never imported here.
	@$(BIN)/python -m compileall -q -j 0 -x '$(NEVER_IMPORTED)' $(VENV)/lib >/dev/null 2>&1 || true
	@echo "installing Graftline itself"
	@$(BIN)/python $(KNOWN) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# Pins every package, direct or not. Run it after a change of dependencies in pyproject.toml, and commit the result.
lock: $(STAMP)
	$(BIN)/pip-compile --quiet --upgrade --extra dev --strip-extras --allow-unsafe --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml
	@sed -i 's/^\(torch==[0-9.]*\)+cpu/\1/' requirements.lock   # the suffix of a CPU build is on no public index

# Debian's server, for `graftline team` and its tests. Its own cluster, which the package starts, is not used.
postgres:
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || test "$$(id -u)" != 0 \
	  || { apt-get update -qq && apt-get install -y -qq postgresql; } >/dev/null

# The browser tests drive Debian's browser.
chromium:
	@command -v chromium >/dev/null || test "$$(id -u)" != 0 || { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null

clean:
	rm -rf $(VENV) artifacts reports site .cache .graftline
