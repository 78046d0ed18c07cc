"""Sizes of the tests: small in each run, large with `--hypothesis-profile=soak`, between them with `ci`."""

from typing import TypeVar, cast

import pytest
from hypothesis import settings

Value = TypeVar("Value")
PROFILE = settings.get_current_profile_name()
SOAK = PROFILE == "soak"
soak_only = pytest.mark.skipif(not SOAK, reason="run pytest -m soak --hypothesis-profile=soak")


def size(quick: Value, soak: Value) -> Value:
    """Return the value of the profile: `soak`, `quick`, or in `ci` a number a fifth of the way between."""
    if PROFILE == "ci" and isinstance(quick, int | float):
        return cast("Value", type(quick)(quick + (cast("float", soak) - quick) / 5))
    return soak if SOAK else quick
