"""Everything about weights."""
