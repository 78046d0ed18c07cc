"""The service measured beside what does the same job; nothing of it is needed to run the service."""
