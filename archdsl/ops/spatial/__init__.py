"""Operators on maps: convolution, pooling, resizing."""
