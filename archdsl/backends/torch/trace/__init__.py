"""Specialised blocks lowered to data for PyTorch."""
