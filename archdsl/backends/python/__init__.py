"""Writing Python: expressions, layout, names."""
