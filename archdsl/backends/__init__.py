"""Targets: each folder writes a model in another form."""
