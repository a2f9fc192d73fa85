"""The output store: answers kept by what produced them."""
