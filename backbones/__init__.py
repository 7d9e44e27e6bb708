"""Pretrained networks: one architecture a file, preprocessing, the registry of weights."""
