"""Specialisations merged into classes, loops found again, and the proof of both."""
