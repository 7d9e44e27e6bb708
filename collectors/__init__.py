"""Everything that talks to platforms: adapters, OAuth, budgets, crawl journal, download."""
