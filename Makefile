# make run: serve. make test: the tests, but for what takes long. make check: what must pass before a commit.
PYTHON ?= python3
HOST ?=
PORT ?=
VENV := .venv
BIN := $(VENV)/bin
PIPENV := VIRTUAL_ENV=$(CURDIR)/$(VENV) PIPENV_VERBOSITY=-1 PIPENV_QUIET=1 $(BIN)/pipenv

.PHONY: run test test-postgresql test-mariadb pages check soak explore format fuzz interop readers bench lock clean

# Of the database server that the setting names, its driver; SQLite needs none.
SERVER := $(firstword $(subst :, ,$(subst +, ,$(value TODO_SQLALCHEMY_DATABASE_URI))))
DRIVER := $(filter postgresql mariadb,$(SERVER:postgres=postgresql) $(SERVER:mysql=mariadb))

run: $(VENV)/installed $(DRIVER:%=$(VENV)/installed-%)
	@exec $(BIN)/flask --app todo serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: $(VENV)/installed-dev test-postgresql test-mariadb
	$(BIN)/python -W error -m unittest discover -s tests

# The API's tests on a PostgreSQL from a package, and on the MariaDB that TEST_MARIADB_URL names.
test-postgresql test-mariadb: test-%: $(VENV)/installed-dev
	$(BIN)/python -W error -m tests.on_server $*

# In a browser, which takes minutes.
CHROMIUM ?= /usr/bin/chromium
pages: $(VENV)/installed-dev
	CHROMIUM=$(CHROMIUM) $(BIN)/python -W error -m unittest tests.test_docs tests.test_page tests.test_page_access tests.test_page_faults tests.test_page_speed

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test

# Tests for long enough, and with examples enough, to meet what is rare: writers at once, kill -9, a
# database server that is gone, a list of a million, a page of 100,000 todos, an instance behind nginx
# that dies; and the commands of the Dockerfile.
soak: $(VENV)/installed-dev
	STREAMED_TODOS=1000000 $(BIN)/python -W error -m unittest -v tests.test_streaming
	CHROMIUM=$(CHROMIUM) PAGE_TODOS=100000 PAGE_WIDTHS="320 480 768 1280 1920" $(BIN)/python -W error -m unittest -v tests.test_page_speed tests.test_page_access.TestAxe
	SLOW_SECONDS=10 $(BIN)/python -W error -m unittest -v tests.test_limits
	SCRAPE_SECONDS=60 $(BIN)/python -W error -m unittest -v tests.test_metrics
	MODEL_EXAMPLES=50 PROPERTY_EXAMPLES=100 $(BIN)/python -W error -m unittest -v $(PROPERTIES)
	INCREMENTS=50 SCHEMATHESIS_EXAMPLES=3 $(BIN)/python -W error -m unittest -v tests.test_concurrency tests.test_schemathesis
	INCREMENTS=50 SCHEMATHESIS_EXAMPLES=3 MODEL_EXAMPLES=50 $(BIN)/python -W error -m tests.on_server postgresql test_concurrency test_schemathesis test_model
	INCREMENTS=50 SCHEMATHESIS_EXAMPLES=3 MODEL_EXAMPLES=50 $(BIN)/python -W error -m tests.on_server mariadb test_concurrency test_schemathesis test_model
	SOAK_SECONDS=30 SOAK_ROUNDS=20 $(BIN)/python -W error -m unittest -v tests.test_durability tests.test_sqlite_file.TestStart tests.test_migration.TestVersions tests.test_outage tests.test_rolling tests.test_deploy.TestDockerfile

# Sequences of operations against a model, and what holds of any request or text, many more than in `make test`.
PROPERTIES := tests.test_model tests.test_properties tests.test_formats_text tests.test_transfer.TestRoundTrip
explore: $(VENV)/installed-dev
	MODEL_EXAMPLES=500 PROPERTY_EXAMPLES=1000 $(BIN)/python -W error -m unittest -v $(PROPERTIES)

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Beside what does the same job, into docs/performance.md; wrk, which makes the load, and Node.js are the
# system's packages. BENCH="--peers flask --operations get_one" measures a part, BENCH=--help tells the rest.
bench: $(VENV)/installed-bench bench/node/node_modules
	@$(BIN)/python -m bench.run $(BENCH)

# Requests made from the OpenAPI document, many more than in `make test`.
fuzz: $(VENV)/installed-dev
	@$(BIN)/python -m tests.test_schemathesis 20000

# Clients generated from the OpenAPI document; it takes Node.js.
interop: $(VENV)/installed-dev $(VENV)/interop/installed
	@PATH=$(CURDIR)/$(VENV)/interop/bin:$$PATH $(BIN)/python -m interop.run

# What calendars, Taskwarrior and a spreadsheet make of the files; it takes the system's packages
# taskwarrior and LibreOffice Calc.
readers: $(VENV)/installed-dev $(VENV)/readers/installed
	READERS=$(CURDIR)/$(VENV)/readers/bin $(BIN)/python -W error -m unittest -v tests.test_formats_readers

# Lock the Pipfile's packages; the lock names no index, so that everyone's own is used.
lock: $(VENV)/pipenv
	$(PIPENV) lock --categories "packages dev-packages postgresql mariadb redis bench interop readers"
	@$(BIN)/python -c "import json; \
	lock = json.load(open('Pipfile.lock')); lock['_meta']['sources'] = []; \
	[package.pop('index', None) for name, group in lock.items() if name != '_meta' for package in group.values()]; \
	json.dump(lock, open('Pipfile.lock', 'w'), indent=4, sort_keys=True); open('Pipfile.lock', 'a').write('\n')"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .bench_cache bench/node/node_modules

$(VENV)/pipenv:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, and $(PYTHON) is ' + sys.version.split()[0] + ': install one and say make PYTHON=/path/to/it.')"
	@echo "Installing the locked packages into $(VENV), once..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pipenv
	@touch $@

$(VENV)/installed: Pipfile.lock | $(VENV)/pipenv
	@$(PIPENV) sync
	@touch $@

$(VENV)/installed-dev: Pipfile.lock | $(VENV)/pipenv
	@$(PIPENV) sync --dev
	@$(PIPENV) sync --categories "postgresql mariadb redis"
	@touch $@ $(VENV)/installed $(VENV)/installed-postgresql $(VENV)/installed-mariadb

$(VENV)/installed-postgresql $(VENV)/installed-mariadb: $(VENV)/installed-%: Pipfile.lock | $(VENV)/installed
	@$(PIPENV) sync --categories $*
	@touch $@

$(VENV)/installed-bench: Pipfile.lock | $(VENV)/installed-dev
	@$(PIPENV) sync --categories bench
	@touch $@

bench/node/node_modules: bench/node/package-lock.json
	@cd bench/node && npm ci --no-audit --no-fund
	@touch $@

# The generator has dependencies that would not fit beside the service's.
$(VENV)/interop/installed: Pipfile.lock | $(VENV)/pipenv
	@$(PYTHON) -m venv --clear $(VENV)/interop
	@VIRTUAL_ENV=$(CURDIR)/$(VENV)/interop PIPENV_VERBOSITY=-1 PIPENV_QUIET=1 $(BIN)/pipenv sync --categories interop
	@touch $@

$(VENV)/readers/installed: Pipfile.lock | $(VENV)/pipenv
	@$(PYTHON) -m venv --clear $(VENV)/readers
	@VIRTUAL_ENV=$(CURDIR)/$(VENV)/readers PIPENV_VERBOSITY=-1 PIPENV_QUIET=1 $(BIN)/pipenv sync --categories readers
	@touch $@
