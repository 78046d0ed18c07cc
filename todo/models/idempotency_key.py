"""The table of idempotency keys and their responses."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from todo.models import BYTES, MOMENT, TABLE_OPTIONS, db, text_of

KEY_LENGTH = 255


class IdempotencyKey(db.Model):  # type: ignore[name-defined, misc]
    """The key and hash of a completed request, and its response."""

    __tablename__ = "idempotency_keys"
    __table_args__ = TABLE_OPTIONS

    key: Mapped[str] = mapped_column(text_of(KEY_LENGTH), primary_key=True)
    request_hash: Mapped[bytes] = mapped_column(BYTES)
    status: Mapped[int]
    headers: Mapped[bytes] = mapped_column(BYTES)
    body: Mapped[bytes] = mapped_column(BYTES)
    created_at: Mapped[datetime] = mapped_column(MOMENT, index=True)
