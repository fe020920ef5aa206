"""The flat text form."""
