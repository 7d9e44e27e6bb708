"""From fits to a verdict: baselines, curves, tables."""
