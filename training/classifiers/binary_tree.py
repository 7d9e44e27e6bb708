"""A tree of binary classifiers: yes-or-no questions from the root to a class (paper 4).

Where class names are paths ("animal/cat") the tree is the taxonomy's; below it, and without any,
classes whose mean features lie close stand close (average linkage on training pictures alone). Each
node is a logistic regression on the training pictures of its leaves, and a class's probability is
the product along its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import linkage
from sklearn.linear_model import LogisticRegression

from training.fitting.classes import ClassFitted, mean_square, penalised
from training.models.classes import TreeClasses, tree_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from training.fitting.classes import ClassProblem
    from training.fitting.grid import GridStore, Point

__all__ = ["NAME", "fit_classes", "ways"]

NAME = "binary-tree"
SEPARATOR = "/"


def ways(names: Sequence[str], means: NDArray[np.float64]) -> NDArray[np.int8]:
    """The tree as (k - 1, k) turns: +1, -1, or 0 where the way to a class does not pass a node.

    Args:
        names: k class names, "animal/cat" for a cat below animals.
        means: (k, d) mean features of each class.
    """
    nodes: list[NDArray[np.int8]] = []

    def split(left: Sequence[int], right: Sequence[int]) -> None:
        turn = np.zeros(len(names), np.int8)
        turn[list(left)], turn[list(right)] = -1, 1
        nodes.append(turn)

    def merge(groups: list[list[int]]) -> None:
        """Bring the groups under one root, the nearest first."""
        if len(groups) < 2:
            return
        centres = np.stack([means[group].mean(axis=0) for group in groups])
        members = dict(enumerate(groups))
        for step, (one, other, *_) in enumerate(linkage(centres, "average")):
            left, right = members[int(one)], members[int(other)]
            split(left, right)
            members[len(groups) + step] = left + right

    def grow(members: list[int], depth: int) -> None:
        below: dict[str, list[int]] = {}
        for number in members:
            parts = names[number].split(SEPARATOR)
            key = parts[depth] if depth < len(parts) - 1 else f"{SEPARATOR}{number}"
            below.setdefault(key, []).append(number)
        merge(list(below.values()))
        for group in below.values():
            if len(group) > 1:
                grow(group, depth + 1)

    grow(list(range(len(names))), 0)
    return np.stack(nodes)


def fit_classes(problem: ClassProblem, store: GridStore) -> ClassFitted:
    """Choose one penalty for all nodes on the held pictures, then fit all training pictures."""
    rows, label = problem.matrix.train(problem.views), problem.tiled(problem.labels.label)
    square = mean_square(rows)

    def fitted(c: float, chosen: NDArray[np.intp]) -> Point:
        known = np.unique(label[chosen])
        means = np.stack(
            [rows[chosen[label[chosen] == k]].mean(axis=0, dtype=np.float64) for k in known]
        )
        path = np.zeros((len(known) - 1, problem.n_classes), np.int8)
        path[:, known] = ways([problem.labels.known[k] for k in known], means)
        weight = np.empty((rows.shape[1], len(path)), np.float32)
        bias = np.empty(len(path), np.float32)
        for node, turn in enumerate(path):
            inside = chosen[turn[label[chosen]] != 0]
            model = LogisticRegression(C=c / square, max_iter=5000)
            model.fit(rows[inside], turn[label[inside]])
            weight[:, node], bias[node] = model.coef_[0], model.intercept_[0]
        return {"weight": weight, "bias": bias, "path": path}

    def scored(model: Point, features: NDArray[np.float32]) -> NDArray[np.float64]:
        return tree_scores(features @ model["weight"] + model["bias"], model["path"])

    grid = penalised(problem, store, fitted, scored)
    final = grid.model
    return ClassFitted(
        classifier=NAME,
        parameters={**grid.chosen.parameters, "nodes": len(final["path"])},
        curve=grid.curve,
        chosen=grid.chosen,
        held=grid.held,
        rest=problem.matrix.mean_views(scored(final, problem.matrix.test)),
        build=lambda card: TreeClasses(card, final["weight"], final["bias"], final["path"]),
        kind="tree-classes",
        made_by=dict.fromkeys(("curve", "model"), "scikit-learn LogisticRegression, one a node"),
    )
