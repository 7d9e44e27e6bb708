"""What a server allows: buckets of calls, the pool of tokens that share them, clock skew."""
