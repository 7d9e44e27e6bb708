"""Chains of calls that survive kills: the client, the crawl, its journal and its tables."""
