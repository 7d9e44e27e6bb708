"""A synthetic world behind a real HTTP server that speaks the Mastodon REST dialect."""
