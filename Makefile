# make run: serve. make test: the quick tests. make check: what must pass before a commit.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIPENV := VIRTUAL_ENV=$(CURDIR)/$(VENV) PIPENV_VERBOSITY=-1 PIPENV_QUIET=1 $(BIN)/pipenv

.PHONY: run test check format soak bench lock interop readers clean

# The extra with the driver for the database URL. SQLite needs no driver.
SERVER := $(firstword $(subst :, ,$(subst +, ,$(value TODO_SQLALCHEMY_DATABASE_URI))))
EXTRA := $(filter postgresql mariadb,$(SERVER:postgres=postgresql) $(SERVER:mysql=mariadb))

run: $(VENV)/installed $(EXTRA:%=$(VENV)/installed-%)
	@exec $(BIN)/flask --app todo serve $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

test: $(VENV)/installed-dev
	$(BIN)/pytest -q -n auto -m "not browser and not server"

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The tests of rare events, with many clients, rounds and examples. This takes about ten minutes.
soak: $(VENV)/installed-dev
	$(BIN)/pytest -q -m soak --hypothesis-profile=soak --timeout=1800

# Measure the service and its peers for docs/performance.md. Needs wrk and Node.js. BENCH=--help shows the options.
bench: $(VENV)/bench/installed
	@[ -f bench/node/node_modules/.package-lock.json ] || (cd bench/node && npm ci --no-audit --no-fund)
	@$(VENV)/bench/bin/python -m bench.run $(BENCH)

# Test clients that are generated from the OpenAPI document. Needs Node.js.
interop: $(VENV)/installed-dev $(VENV)/interop/installed
	@PATH=$(CURDIR)/$(VENV)/interop/bin:$$PATH $(BIN)/python -m interop.run

# Test exported files in other programs. Needs taskwarrior, LibreOffice Calc and Node.js.
readers: $(VENV)/installed-dev $(VENV)/readers/installed
	READERS=$(CURDIR)/$(VENV)/readers/bin $(BIN)/pytest -q tests/formats/test_readers.py tests/formats/test_time_zones.py

# The lock names no package index, so that each machine uses its own.
lock: $(VENV)/pipenv
	$(PIPENV) lock
	@$(BIN)/python -c "import pathlib, re; lock = pathlib.Path('Pipfile.lock'); \
	lock.write_text(re.sub(r'(?s)(\"sources\": )\[.*?\]', r'\1[]', re.sub(r' *\"index\".*\n', '', lock.read_text())))"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .bench_cache bench/node/node_modules

$(VENV)/pipenv:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed, but $(PYTHON) is ' + sys.version.split()[0] + '. Install a newer Python and run make PYTHON=/path/to/python3.')"
	@echo "Installing the locked packages into $(VENV), once..." && $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check pipenv && touch $@

$(VENV)/installed $(VENV)/installed-dev: $(VENV)/installed%: Pipfile.lock | $(VENV)/pipenv
	@$(PIPENV) sync $(*:-%=--%) && touch $(VENV)/installed $@

$(VENV)/installed-%: Pipfile.lock | $(VENV)/installed
	@$(PIPENV) requirements --dev | sed -e '/^-/d' -e 's/\[.*\]//' > $(VENV)/constraints.txt
	@$(BIN)/pip install -q --disable-pip-version-check -c $(VENV)/constraints.txt -e ".[$*]" && touch $@

# A dependency group in a separate environment.
$(VENV)/%/installed: pyproject.toml
	@$(PYTHON) -m venv --clear $(@D) && $(@D)/bin/pip install -q --upgrade pip
	@$(@D)/bin/pip install -q --group $* $(if $(filter bench,$*),-e .) && touch $@
