"""The versions of the schema, as Alembic reads them: it runs `env.py` for each command."""
