"""Features and labels as arrays, in files that processes share."""
