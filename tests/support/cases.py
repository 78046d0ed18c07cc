"""Shared parts of test classes and tables of cases."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import cached_property

import pytest

_LENGTH = 40  # characters


def label(value: object) -> str | None:
    """Return a short id for a parameter, or None to let pytest number the parameters."""
    if isinstance(value, str):
        return value[:_LENGTH]
    return repr(value)[:_LENGTH] if isinstance(value, bytes | int | tuple | list | dict) else None


class Prepared:
    """A test class with a stack of resources to close after each test."""

    @cached_property
    def stack(self) -> ExitStack:
        return ExitStack()

    @pytest.fixture(autouse=True)
    def _close(self) -> Iterator[None]:
        with self.stack:
            yield
