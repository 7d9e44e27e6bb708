"""Telling k classes apart on stored features: the problem, the models, their pages."""
