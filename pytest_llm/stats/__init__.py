"""Statistics of paired comparisons: intervals, exact tests, corrections, power."""
