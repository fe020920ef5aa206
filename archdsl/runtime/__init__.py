"""Running models and comparing runtimes."""
