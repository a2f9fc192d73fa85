"""Planning: what the selected tests will ask, asked at once before the first of them runs."""
