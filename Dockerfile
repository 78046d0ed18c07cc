# docker build -t todo . — compose.yaml runs it, docs/operations.md has more.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv pipenv && pipenv/bin/pip install --no-cache-dir pipenv
RUN python -m venv .venv
COPY Pipfile Pipfile.lock ./
RUN VIRTUAL_ENV=/app/.venv pipenv/bin/pipenv sync
COPY pyproject.toml README.md LICENSE ./
COPY todo todo
# The service itself and its extras, in the versions of the lock.
RUN pipenv/bin/pipenv requirements --dev | sed -e '/^-/d' -e 's/\[.*\]//' >constraints.txt \
    && .venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[postgresql,mariadb,redis]"
RUN mkdir instance

FROM python:3.13-slim
WORKDIR /app
COPY --from=build /app/.venv .venv
# The folder of the SQLite file.
COPY --from=build --chown=10001:10001 /app/instance instance
ENV PATH=/app/.venv/bin:$PATH TODO_HOST=0.0.0.0 TODO_SQLALCHEMY_DATABASE_URI=sqlite:////app/instance/db.sqlite
USER 10001:10001
VOLUME /app/instance
EXPOSE 6400
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --start-interval=1s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:6400/api/v1/health', timeout=4)"]
# On SIGTERM it finishes the requests in progress. Without TODO_REQUIRE_TOKEN=true it refuses to start.
CMD ["todo-server", "serve"]
