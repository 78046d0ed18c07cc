"""The addresses that the service answers, one blueprint a file."""
