"""One file a platform; nothing outside this package knows a platform by name."""
