"""HTTP's mechanisms, one a file; none of them knows what a todo is."""
