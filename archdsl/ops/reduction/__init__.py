"""Operators along axes: reductions, norms, softmax, sorting."""
