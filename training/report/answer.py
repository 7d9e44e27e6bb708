"""The study's answer in words, no stronger than its intervals allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from training.report.context import Context
from training.report.figures import GOOD, INK, QUIET, Figure

__all__ = ["best_result", "figure", "sentences"]

Score = Mapping[str, float]


def best_result(content: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The row of the comparison that was best in cross-validation."""
    rows = content.get("results", []) if content else []
    return next((row for row in rows if row["model"] == (content or {}).get("best")), None)


def sentences(context: Context) -> list[str]:
    """The answer first, then what it must be seen beside."""
    content = context.comparison
    row = best_result(content)
    if content is None or row is None:
        return _without_comparison(context)
    against = row["against"]
    words = [_main(row["metrics"], against["chance"])]
    if "author-history" in against:
        words.append(_beside(against["author-history"], _baseline(content, "author-history")))
    if "picture-properties" in against:
        plain = _baseline(content, "picture-properties")
        words += _plain(against["picture-properties"], plain)
    data = content["data"]
    words.append(
        f"Measured on {data['held_out_pictures']:,} pictures of {data['held_out_authors']:,} "
        "authors that no model had seen, with intervals over authors. "
        f"The best in cross-validation is {row['classifier']} on {row['layer']} of "
        f"{content['backbone']}."
    )
    return words


def _main(metrics: Mapping[str, Score], chance: Score) -> str:
    auc, ap = metrics["roc_auc"], metrics["average_precision"]
    if chance["low"] <= 0:
        return (
            "On these pictures, nothing shows that the picture alone tells the better liked half "
            f"from the other: average precision {_score(ap)}, which does not exceed chance "
            f"reliably ({_difference(chance)})."
        )
    return (
        "From the picture alone, a better liked picture is told from a less liked one "
        f"{100 * auc['value']:.0f} times out of 100 (95 % interval {100 * auc['low']:.0f} to "
        f"{100 * auc['high']:.0f}; chance: 50). Average precision is {_score(ap)}."
    )


def _beside(difference: Score, history: Score | None) -> str:
    known = f" (average precision {history['value']:.2f})" if history else ""
    if difference["low"] > 0:
        return f"That beats knowing how the author's other pictures did{known}."
    if difference["high"] < 0:
        return (
            f"Knowing how the author's other pictures did says more{known}: who posts matters more "
            "than what is seen."
        )
    return f"Whether that beats knowing how the author's other pictures did{known} is open."


def _plain(difference: Score, plain: Score | None) -> list[str]:
    """Whether a network was needed; nothing when it clearly was."""
    if difference["low"] > 0 or plain is None:
        return []
    how = "better" if difference["high"] < 0 else "about as well"
    return [
        f"Plain properties of the picture, such as its brightness and colours, do {how} "
        f"(average precision {plain['value']:.2f})."
    ]


def _baseline(content: Mapping[str, Any], name: str) -> Score | None:
    found = [b["metrics"]["average_precision"] for b in content["baselines"] if b["name"] == name]
    return found[0] if found else None


def _score(score: Score) -> str:
    return f"{score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})"


def _difference(score: Score) -> str:
    text = f"{score['value']:+.2f}, {score['low']:+.2f} to {score['high']:+.2f}"
    return text.replace("-", "\u2212")


def _without_comparison(context: Context) -> list[str]:
    if context.manifest("labels") is not None:
        return ["The pictures are labelled; whether they can be told apart is not known yet."]
    if context.manifest("posts") is not None:
        return ["Posts have been collected; no picture has been labelled yet."]
    return ["This study is empty so far."]


def figure(context: Context) -> Figure | None:
    """Average precision of the best classifier beside the baselines."""
    content = context.comparison
    row = best_result(content)
    if content is None or row is None:
        return None
    found = [(f"picture: {row['classifier']}", row["metrics"]["average_precision"], True)]
    found += [
        (b["name"].replace("-", " "), b["metrics"]["average_precision"], False)
        for b in content["baselines"]
    ]

    def paint(axes: Axes, wide: bool) -> None:
        for place, (_, score, own) in enumerate(found):
            colour = GOOD if own else QUIET
            axes.plot([score["low"], score["high"]], [place, place], color=colour, lw=2.4)
            axes.plot(score["value"], place, "o", color=colour, ms=7 if own else 5)
        axes.set_yticks(range(len(found)), [name for name, _, _ in found])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.set_xlabel(f"average precision{' on authors never seen' if wide else ''}")
        axes.spines["left"].set_visible(False)

    words = "Average precision with 95 % intervals: " + "; ".join(
        f"{name} {_score(score)}" for name, score, _ in found
    )
    return context.figure(
        "answer",
        "The best classifier beside simpler ways to decide, 95 % intervals by author",
        words + ".",
        paint,
        height=0.34 * len(found) + 0.6,
        width=5.4,
    )
