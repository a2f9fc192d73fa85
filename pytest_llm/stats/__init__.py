"""Statistics of gates: paired tests, intervals, power, corrections. numpy and scipy load on first use."""
