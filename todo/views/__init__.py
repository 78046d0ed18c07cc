"""The routes of the service, one blueprint per file."""
