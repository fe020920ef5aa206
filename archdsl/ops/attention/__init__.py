"""Attention, masks and positions."""
