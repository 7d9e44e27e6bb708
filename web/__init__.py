"""Pages and REST on one snapshot of a study's tables; reviews by people."""
