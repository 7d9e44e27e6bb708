"""Pages for people, one module each: ``router``, and ``lifespan`` where it keeps something open."""
