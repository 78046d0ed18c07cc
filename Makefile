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
	$(BIN)/pytest -q -n auto

# The API's tests on a PostgreSQL from a package, and on the MariaDB that TEST_MARIADB_URL names.
test-postgresql test-mariadb: test-%: $(VENV)/installed-dev
	$(BIN)/pytest -q -n auto --database=$*

# In a browser, which takes minutes.
CHROMIUM ?= /usr/bin/chromium
pages: $(VENV)/installed-dev
	CHROMIUM=$(CHROMIUM) $(BIN)/pytest -q -n auto tests/page

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test

# Tests for long enough, and with examples enough, to meet what is rare: writers at once, kill -9, a
# database server that is gone, a list of a million, a page of 100,000 todos, an instance behind nginx
# that dies; and the commands of the Dockerfile.
SOAK := $(BIN)/pytest -q --timeout=1800
soak: $(VENV)/installed-dev
	STREAMED_TODOS=1000000 $(SOAK) tests/server/test_streaming.py
	CHROMIUM=$(CHROMIUM) PAGE_TODOS=100000 PAGE_WIDTHS="320 480 768 1280 1920" $(SOAK) tests/page/test_speed.py tests/page/test_access.py::TestAxe
	SLOW_SECONDS=10 $(SOAK) tests/server/test_limits.py
	SCRAPE_SECONDS=60 $(SOAK) tests/server/test_metrics.py
	MODEL_EXAMPLES=50 PROPERTY_EXAMPLES=100 $(SOAK) $(PROPERTIES)
	INCREMENTS=50 SCHEMATHESIS_EXAMPLES=3 $(SOAK) tests/server/test_concurrency.py tests/api/test_schemathesis.py
	INCREMENTS=50 SCHEMATHESIS_EXAMPLES=3 MODEL_EXAMPLES=50 $(SOAK) --database=postgresql tests/server/test_concurrency.py tests/api/test_model.py
	INCREMENTS=50 SCHEMATHESIS_EXAMPLES=3 MODEL_EXAMPLES=50 $(SOAK) --database=mariadb tests/server/test_concurrency.py tests/api/test_model.py
	SOAK_SECONDS=30 SOAK_ROUNDS=20 $(SOAK) tests/database/test_durability.py tests/database/test_sqlite_file.py::TestStart tests/database/test_migration.py::TestVersions tests/database/test_outage.py tests/server/test_rolling.py tests/tools/test_deploy.py::TestDockerfile

# Sequences of operations against a model, and what holds of any request or text, many more than in `make test`.
PROPERTIES := tests/api/test_model.py tests/api/test_properties.py tests/formats/test_text.py tests/formats/test_transfer.py::TestRoundTrip
explore: $(VENV)/installed-dev
	MODEL_EXAMPLES=500 PROPERTY_EXAMPLES=1000 $(SOAK) $(PROPERTIES)

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Beside what does the same job, into docs/performance.md; wrk, which makes the load, and Node.js are the
# system's packages. BENCH="--peers flask --operations get_one" measures a part, BENCH=--help tells the rest.
bench: $(VENV)/installed-bench bench/node/node_modules
	@$(BIN)/python -m bench.run $(BENCH)

# Requests made from the OpenAPI document, many more than in `make test`.
fuzz: $(VENV)/installed-dev
	@$(BIN)/python -m tests.api.test_schemathesis 20000

# Clients generated from the OpenAPI document; it takes Node.js.
interop: $(VENV)/installed-dev $(VENV)/interop/installed
	@PATH=$(CURDIR)/$(VENV)/interop/bin:$$PATH $(BIN)/python -m interop.run

# What calendars, Taskwarrior and a spreadsheet make of the files; it takes the system's packages
# taskwarrior and LibreOffice Calc.
readers: $(VENV)/installed-dev $(VENV)/readers/installed
	READERS=$(CURDIR)/$(VENV)/readers/bin $(SOAK) tests/formats/test_readers.py

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
