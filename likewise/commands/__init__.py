"""Commands of the `likewise` program, one file a verb."""
