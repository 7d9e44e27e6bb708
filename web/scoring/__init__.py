"""Pictures scored on demand: guarded, batched, bounded, by processes that may be lost."""
