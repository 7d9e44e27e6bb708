"""How figures are drawn: one style and one set of colours for all verbs."""
