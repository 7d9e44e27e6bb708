"""Who and what stays, and the label: pure functions on NumPy and Arrow."""
