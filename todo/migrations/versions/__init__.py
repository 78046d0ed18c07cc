"""One file per version of the schema. Released files must not change."""
