"""The algebra of sizes and the prover; knows nothing of networks."""
