"""Template, style and script of the map, as package data."""
