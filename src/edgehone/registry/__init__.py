"""A registry of bundles: content-addressed files, versions, aliases and their history."""
