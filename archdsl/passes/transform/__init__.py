"""The transforms that users name."""
