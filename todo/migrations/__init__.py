"""Alembic migrations. Alembic runs `env.py` for each command."""
