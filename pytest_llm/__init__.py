"""Model regression testing in plain pytest."""
