"""The `X-Request-ID` header: one ID for each request, in its response, its problem and the log."""

HEADER = "X-Request-ID"
# Characters that no log misreads. The service replaces any other ID of a client.
PATTERN = "^[A-Za-z0-9._:+/=-]{1,128}$"
