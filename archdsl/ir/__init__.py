"""The IR and the contract of operators."""
