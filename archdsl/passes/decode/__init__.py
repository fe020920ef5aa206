"""Step-by-step decoding: prefill and one step."""
