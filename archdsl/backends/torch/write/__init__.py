"""Classes written as text."""
