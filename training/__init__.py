"""Classifiers and their comparison, fine-tuning, ranking, explanation, report."""
