"""HTTP mechanisms, one per file."""
