"""Rewrites of weights before export."""
