"""Pictures on a plane: the projection, how far it can be trusted, and the page that shows it."""
