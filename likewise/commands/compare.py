"""``likewise compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from likewise.commands._common import stage_command

if TYPE_CHECKING:
    from likewise.study import Study


def _text(study: Study) -> str:
    from training.compare import comparison_text

    return comparison_text(study)


command = stage_command(
    "compare",
    "Compare classifiers on the same author-disjoint folds, with intervals and baselines.",
    text=_text,
)
