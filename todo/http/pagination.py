"""Links from page to page (RFC 8288)."""

from urllib.parse import parse_qsl, quote, urlencode

from flask import request


def next_link(cursor: str) -> str:
    """Make the value of a `Link` header to the page at `cursor`, every other parameter kept."""
    sent = parse_qsl(request.query_string.decode(), keep_blank_values=True)
    query = [(name, value) for name, value in sent if name != "cursor"]
    host = request.environ["HTTP_HOST"]  # `request.host` is empty for a name with an underscore
    address = f"{request.scheme}://{host}{quote(request.root_path + request.path)}"
    return f'<{address}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
