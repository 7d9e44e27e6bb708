"""Face detectors and how sure they are."""
