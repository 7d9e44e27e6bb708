"""What people have already: tables, folders and other programs' downloads, one file a kind.

A kind turns its source into posts and authors as the platforms' adapters do; it fetches nothing.
Pictures stay where they lie until ``download`` reads them in its guarded processes.
"""

from collectors.imports.registry import KINDS, get, recognise

__all__ = ["KINDS", "get", "recognise"]
