"""HTTP mechanisms, one per file. None of them depends on todos."""
