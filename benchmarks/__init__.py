"""Measurements of every claim of speed, each beside what it is compared with."""
