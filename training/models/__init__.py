"""Saved models and their cards."""
