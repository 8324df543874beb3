"""Figures of an evaluation as PNG bytes: a confusion matrix and learning curves."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np

from ..core.store.study_store import Evaluation


def draw_confusion(evaluation: Evaluation) -> bytes:
    """Draw the confusion matrix of the first retraining: colours are shares of each true class, numbers are counts."""
    counts = np.asarray(evaluation.confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [c.name for c in evaluation.classes]
    figure, axes = _figure(4.5 + 0.25 * len(names), 4 + 0.22 * len(names))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"{evaluation.dataset} · {evaluation.method}: test images", parse_math=False)
    if len(names) <= 20:
        for i, j in np.argwhere(counts > 0):
            axes.text(
                j,
                i,
                f"{counts[i, j]:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if shares[i, j] > 0.5 else "black",
            )
    return _png(figure)


def draw_curves(evaluation: Evaluation) -> bytes:
    """Draw loss and accuracy of each retraining against epochs."""
    figure, (left, right) = _figure(9, 3.6, 2)
    for retraining in evaluation.retrainings:
        for axes, name in ((left, "loss"), (right, "accuracy")):
            values = retraining.curves[name]
            axes.plot(range(1, len(values) + 1), values, marker=".", label=f"seed {retraining.seed}")
    for axes, name in ((left, "training loss"), (right, "training accuracy")):
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.grid(alpha=0.3)
    right.legend(frameon=False)
    return _png(figure)


def _figure(width: float, height: float, columns: int = 1) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def _png(figure: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
