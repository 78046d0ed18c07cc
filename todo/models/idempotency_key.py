"""Answers kept for requests that may be sent again."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from todo.models import BYTES, MOMENT, TABLE_OPTIONS, db, text_of

KEY_LENGTH = 255


class IdempotencyKey(db.Model):  # type: ignore[name-defined, misc]
    """A request that was carried out, and what it was answered."""

    __tablename__ = "idempotency_keys"
    __table_args__ = TABLE_OPTIONS

    key: Mapped[str] = mapped_column(text_of(KEY_LENGTH), primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(BYTES)
    status: Mapped[int]
    headers: Mapped[bytes] = mapped_column(BYTES)
    body: Mapped[bytes] = mapped_column(BYTES)
    created_at: Mapped[datetime] = mapped_column(MOMENT, index=True)
