"""Values that schemathesis cannot generate from the OpenAPI document."""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
import schemathesis

LISTS = {"/api/v1/todos", "/api/v1/todos.csv", "/api/v1/todos.ics"}


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,
    case: schemathesis.Case[Any],
    kwargs: dict[str, Any],
) -> None:
    """Replace the cursor with a cursor of the service for the same query. No other cursor is valid."""
    if case.path not in LISTS or "cursor" not in case.query or not _is_valid(case):
        return
    cursor = _cursor(case)
    if cursor:
        case.query["cursor"] = cursor
    else:
        del case.query["cursor"]


def _is_valid(case: schemathesis.Case[Any]) -> bool:
    return case.meta is None or case.meta.generation.mode.is_positive


def _cursor(case: schemathesis.Case[Any]) -> str | None:
    """Request the first page of a list, and return the cursor of the next page, or None."""
    first_page = case.as_transport_kwargs()["params"] | {"limit": 1}
    del first_page["cursor"]
    response = requests.get(case.operation.base_url + case.path, params=first_page, timeout=60)
    link = re.search("<(.*)>", response.headers.get("Link", ""))
    return parse_qs(urlsplit(link[1]).query)["cursor"][0] if link else None
