"""A todo service: a strict REST API over SQLAlchemy."""

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(config_overrides: Mapping[str, Any] | None = None) -> "Flask":
    """The WSGI application, its database ready.

    `config_overrides` wins over the environment (`TODO_<NAME>`), the environment over the defaults.
    Raises `config.StartupError`, with a sentence for people, where the service can't start.
    """
    # Imported here and not above, so that the client, a module of this package too, starts without them.
    from flask import Flask

    from todo import cli, config, database, openapi
    from todo.http import (
        auth,
        keep_alive,
        log,
        metrics,
        middleware,
        problem,
        rate_limit,
        security,
        turn,
    )
    from todo.views import docs, feeds, routes, system, web

    app = Flask(__name__, static_folder=None, instance_path=config.data_folder())
    app.url_map.merge_slashes = False
    # Flask asks at each request, of each function that it calls, whether it is async.
    app.ensure_sync = lru_cache(app.ensure_sync)  # type: ignore[method-assign]
    config.configure(app, config_overrides or {})

    database.prepare(app, check_schema=not cli.is_choosing())

    middleware.register(app)
    metrics.register(app)
    log.register(app)
    security.register(app)
    keep_alive.register(app)
    auth.register(app)
    rate_limit.register(app)
    problem.register(app)
    cli.register(app)

    app.register_blueprint(routes.api)
    app.register_blueprint(feeds.feeds)
    app.register_blueprint(docs.docs)
    app.register_blueprint(web.web)
    app.register_blueprint(system.system)
    openapi.register(app)
    if app.extensions["todo.writer"]:  # a server is waited for, and others work meanwhile
        turn.register(app)
    return app
