"""REST below /api/v1, one module a subject: ``router``, and ``lifespan`` where needed."""
