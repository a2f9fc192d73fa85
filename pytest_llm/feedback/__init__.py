"""What people said of a model's answers in production, as test cases."""
