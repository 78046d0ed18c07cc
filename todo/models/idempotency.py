"""Answers kept for requests that may be sent again."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from todo.models import db

KEY_LENGTH = 255


class IdempotencyKey(db.Model):  # type: ignore[name-defined, misc]
    """A request that was carried out, and what it was answered."""

    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(KEY_LENGTH), primary_key=True)
    request_hash: Mapped[bytes]
    status: Mapped[int]
    headers: Mapped[bytes]
    body: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(index=True)
