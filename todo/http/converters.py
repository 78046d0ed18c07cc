"""The id in a path."""

from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter


def to_bigint(number: int) -> int | None:
    """Return `number`, or None if no database integer can hold it."""
    return number if -(2**63) <= number < 2**63 else None


class IdConverter(BaseConverter):
    """A whole number in its only decimal form."""

    regex = "0|-?[1-9][0-9]*"

    def to_python(self, value: str) -> int | None:
        """Return the id; None, which equals no id, for a number that no database integer can hold."""
        return to_bigint(int(value[:21]))


def register(state: BlueprintSetupState) -> None:
    """Add the converter `id` to the application of a blueprint, before its first route."""
    state.app.url_map.converters["id"] = IdConverter
