"""PyTorch: source that an engineer would write, and the live module made from it."""
