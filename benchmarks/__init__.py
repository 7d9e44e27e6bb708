"""Speed measurements beside the peers, one file each; results go to docs/performance.md."""
