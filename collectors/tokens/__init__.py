"""The permission that people gave: OAuth, the consent page and the store of tokens."""
