"""``journal.sqlite``: what a crawl has read, where it stands, and the calls it made."""

from collectors.crawling.journal.chains import StoredChain
from collectors.crawling.journal.journal import Journal, Progress

__all__ = ["Journal", "Progress", "StoredChain"]
