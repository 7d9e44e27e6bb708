"""Templates, style and script of the report, as package data."""
