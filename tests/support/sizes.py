"""Sizes of the tests: small in each run, large with `--hypothesis-profile=soak`."""

from typing import TypeVar

import pytest
from hypothesis import settings

Value = TypeVar("Value")
SOAK = settings.get_current_profile_name() == "soak"
soak_only = pytest.mark.skipif(not SOAK, reason="run pytest -m soak --hypothesis-profile=soak")


def size(quick: Value, soak: Value) -> Value:
    """Return `soak` in the soak profile, otherwise `quick`."""
    return soak if SOAK else quick
