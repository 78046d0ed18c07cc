"""The benchmark of the service and its peers. The service does not need it."""
