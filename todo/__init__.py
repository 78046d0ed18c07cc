"""A todo service: a strict REST API over SQLAlchemy."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(config_overrides: Mapping[str, Any] | None = None) -> "Flask":
    """Return the WSGI application, with its database ready.

    `config_overrides` wins over the environment (`TODO_<NAME>`), and the environment over the defaults.
    Raises `config.StartupError`, with advice for the operator, if the service cannot start.
    """
    # Imported here, so that `todo.client` starts without these modules.
    from flask import Flask

    from todo import cli, config, database, openapi
    from todo.http import auth, keep_alive, log, metrics, middleware, problem, rate_limit, security
    from todo.views import batch, deleted, docs, feeds, routes, system, web

    app = Flask(__name__, static_folder=None, instance_path=config.data_folder())
    app.url_map.merge_slashes = False
    config.configure(app, config_overrides or {})
    database.init_app(app, check_schema=not cli.is_resolving_command())

    # The WSGI middleware wraps Flask: request ID, common headers, timing, response cache. Then each
    # request passes these checks, in this order, before it reaches its view.
    middleware.register(app)
    security.register(app)
    auth.register(app)
    rate_limit.register(app)
    keep_alive.register(app)
    problem.register(app)
    metrics.register(app)
    log.register(app)
    cli.register(app)

    for blueprint in (
        routes.api,
        batch.batch,
        deleted.deleted,
        feeds.feeds,
        docs.docs,
        web.web,
        system.system,
    ):
        app.register_blueprint(blueprint)
    openapi.register(app)
    return app
