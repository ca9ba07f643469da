"""Several methods on one dataset with the same budget; :func:`reidtune.comparison.compare.compare` does it."""
