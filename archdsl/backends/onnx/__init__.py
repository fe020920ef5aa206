"""ONNX: a flat block lowered to a graph, and files of it."""
