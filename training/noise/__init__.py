"""Doubtful labels: which are probably wrong, and whether dropping them helps."""
