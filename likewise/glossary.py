"""The words that the report, the pages and the documentation use, each in a sentence or two.

One place, so that a note on hover in the report and ``docs/glossary.md`` say the same.
"""

from __future__ import annotations

__all__ = ["GLOSSARY"]

GLOSSARY = {
    "audience": "The people who see an author's posts; here counted by followers (or by views).",
    "author-disjoint": "No author stands on both sides of a split, so that a model cannot be right "
    "by knowing a face or a living room.",
    "average precision": "How well a ranking puts good pictures first: the mean of the precision "
    "at the place of every good picture. 1 is perfect; scores in random order get about the share "
    "of good pictures.",
    "backbone": "The pretrained network whose activations describe the pictures.",
    "Brier score": "Mean squared distance of the probabilities from what came true; smaller is "
    "better.",
    "calibration": "Turning a classifier's scores into probabilities that come true as often as "
    "they say (Platt's sigmoid).",
    "chance": "What scores in random order are expected to get.",
    "cross-validation": "Fitting on all folds but one and scoring that one, each fold in turn.",
    "equivalence": "A difference so small that its whole interval lies within a margin set before. "
    "Not the same as 'no difference was found'.",
    "feature": "One of the numbers by which a network describes a picture.",
    "fold": "A part of the training authors; cross-validation leaves out one at a time.",
    "funnel": "Rows in, rows dropped under a named reason, rows out; the sums are checked.",
    "gain": "What the picture adds to what is known without it: the average precision of both "
    "together minus that of the known alone, on the same pictures.",
    "good": "Liked more than the median of the study (or of the author's own pictures), by likes "
    "per follower. A label, not a judgement of beauty.",
    "Grad-CAM": "Heat over a picture that shows where the network's last maps speak for a label. A "
    "hint at what matters, rough by nature.",
    "held-out": "Kept away from every fit: pictures of authors that no model has seen, used once "
    "to measure.",
    "in-sample": "Pictures that a model was fitted on; it knows them, so that its scores there say "
    "little.",
    "interval": "A range that holds the true value in 95 of 100 such studies (95 %). Here drawn "
    "over authors, whose pictures are alike.",
    "MAD": "Median absolute deviation: the middle of all distances from the median. It measures "
    "spread without being moved by a few giants; accounts far away in its units are left out.",
    "median": "The value that half of all lie above.",
    "near copy": "A picture whose perceptual hash differs from another's in a few bits: the same "
    "picture, cut or compressed again.",
    "p-value": "How often chance alone would look at least like this. Small is surprising; it is "
    "not the chance of being wrong.",
    "pooled": "The last maps of a network averaged over the picture: one number a map.",
    "pooled label": "A label by the median of all pictures together, not of each author's own.",
    "precision": "Share of good ones among the pictures called good.",
    "recall": "Share of the good pictures that were called good.",
    "ROC AUC": "The chance that a good picture is scored above a bad one; 0.5 is chance.",
    "simultaneous": "Intervals wide enough that all of them together hold their true values in 95 "
    "of 100 studies.",
    "standard deviation": "The usual distance from the mean; effects are given in units of it. 0.2 "
    "is small, 0.5 medium, 0.8 large (Cohen).",
}
"""Word -> what it means."""
