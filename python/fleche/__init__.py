"""A persistent cache of function results, keyed by the content of their arguments."""
