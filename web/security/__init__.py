"""Who may ask what: host, session, CSRF token, limits, and the headers of every answer."""
