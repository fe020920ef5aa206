"""Scans recognised as recurrent layers."""
