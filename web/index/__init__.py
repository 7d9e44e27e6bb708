"""What pages ask of a snapshot, in one SQLite file beside the study, made anew for each state.

``build`` writes it, ``reading`` opens it. It holds one row a picture (what a card and a page show,
as JSON), and the columns that are filtered and sorted by as arrays: a filter over a million
pictures is then a few comparisons of arrays, its count exact, and any page of it a slice.
"""

from __future__ import annotations

__all__ = ["CODE", "FOLDER", "NAMED", "SORTS"]

CODE = 2
"""Raised whenever the files would hold something else."""
FOLDER = "cache/serve"
"""Below the study; ``forget`` deletes it whole."""
SORTS = ("score", "ratio", "likes", "date", "disagreement", "uncertainty")
"""What pictures can be sorted by; all but the first are the same for every model."""
NAMED = {"platform": "platforms", "split": "splits", "class": "classes", "said": "answers"}
"""Columns that hold a number in place of a name, and the fact that lists the names."""
