"""What is shown about models and operators."""
