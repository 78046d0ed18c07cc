"""The table of access tokens. Only hashes of tokens are stored."""

import hashlib
import secrets
from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from todo.clock import utc_now
from todo.models import MOMENT, TABLE_OPTIONS, db, text_of

PREFIX = "todo_"  # lets secret scanners recognize leaked tokens
NAME_LENGTH = 80


class Token(db.Model):  # type: ignore[name-defined, misc]
    """An access token of a client. Revoking the token deletes the row."""

    __tablename__ = "tokens"
    __table_args__ = TABLE_OPTIONS

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(text_of(NAME_LENGTH), unique=True)
    secret_hash: Mapped[str] = mapped_column(text_of(64), unique=True)
    read_only: Mapped[bool] = mapped_column(default=False)
    feed: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(MOMENT, default=utc_now)
    expires_at: Mapped[datetime | None] = mapped_column(MOMENT)
    last_used_at: Mapped[datetime | None] = mapped_column(MOMENT)


def make_secret() -> str:
    """Return a token of 256 random bits, which needs no slow hash."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Return the hash of a token as stored: SHA-256 in hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()
