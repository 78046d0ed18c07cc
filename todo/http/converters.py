"""The URL converter for ids."""

from werkzeug.routing import BaseConverter


def to_bigint(number: int) -> int | None:
    """Return `number`, or None if no database integer can hold it."""
    return number if -(2**63) <= number < 2**63 else None


class IdConverter(BaseConverter):
    """A decimal integer without a plus sign or leading zeros."""

    regex = "0|-?[1-9][0-9]*"

    def to_python(self, value: str) -> int | None:
        """Return the id, or None (which matches no row) if no database integer can hold the number."""
        return to_bigint(int(value[:21]))
