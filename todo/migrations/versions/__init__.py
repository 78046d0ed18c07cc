"""A file for each version of the schema; what was released is not changed any more."""
