"""Links from page to page (RFC 8288)."""

from urllib.parse import parse_qsl, urlencode

from flask import request


def next_link(cursor: str) -> str:
    """Make the value of a `Link` header to the page at `cursor`, every other parameter kept."""
    sent = parse_qsl(request.query_string.decode(), keep_blank_values=True)
    query = [(name, value) for name, value in sent if name != "cursor"]
    return f'<{request.base_url}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
