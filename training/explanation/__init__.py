"""Why the ranking is as it is: heat maps and scenes."""
