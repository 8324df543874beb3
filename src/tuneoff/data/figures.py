"""Draw figures of prepared data: sample images of each class, and the class balance of each part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..core.prepared_data import Part, Prepared

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 10
"""Images shown per class."""
CLASSES = 20
"""Largest number of classes in samples.png; balance.png shows all classes."""
_COLOURS = {"train": "#4477aa", "validation": "#ee6677", "test": "#228833"}


def save_samples(folder: Path, prepared: Prepared) -> None:
    """Draw samples.png: training images, one row per class."""
    shown = prepared.classes[:CLASSES]
    images, labels = (np.load(folder / f"{axis}_train.npy", mmap_mode="r") for axis in "xy")
    mosaic = sample_mosaic(images, labels, len(shown))
    height = prepared.input_shape[0]
    figure = _figure(8, 8 * mosaic.shape[0] / mosaic.shape[1])
    axes = figure.add_subplot()
    axes.imshow(mosaic, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks([(height + 1) * i + height / 2 for i in range(len(shown))], [_short(c) for c in shown])
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    more = f", the first {len(shown)} of {len(prepared.classes)} classes" if len(shown) < len(prepared.classes) else ""
    axes.set_title(f"{prepared.name}: training images{more}", loc="left")
    figure.savefig(folder / "samples.png", dpi=100, bbox_inches="tight")


def sample_mosaic(images: npt.NDArray[np.float32], labels: npt.NDArray[Any], classes: int) -> npt.NDArray[np.float32]:
    """Tile the first SAMPLES images of each of the first `classes` classes, one row per class.

    One white pixel separates two images. Where a class has fewer images, the mosaic is white.

    Returns:
        An array (rows, columns) for one channel, (rows, columns, C) for C = 3 or 4 channels.
    """
    _, height, width, channels = images.shape
    mosaic = np.ones((classes * (height + 1) - 1, SAMPLES * (width + 1) - 1, channels), np.float32)
    for label in range(classes):
        for column, index in enumerate(np.flatnonzero(labels == label)[:SAMPLES]):
            top, left = label * (height + 1), column * (width + 1)
            mosaic[top : top + height, left : left + width] = images[index]
    return mosaic[:, :, 0] if channels == 1 else mosaic


def save_balance(folder: Path, prepared: Prepared) -> None:
    """Draw balance.png: each class's share of each part."""
    shares = class_shares(prepared)
    classes = len(prepared.classes)
    figure = _figure(min(8 + 0.2 * max(classes - 20, 0), 40), 3.5)
    axes = figure.add_subplot()
    bar = 0.8 / len(shares)
    for i, (part, values) in enumerate(shares.items()):
        places = [c - 0.4 + (i + 0.5) * bar for c in range(classes)]
        axes.bar(places, values, bar, color=_COLOURS[part], label=f"{part} ({prepared.counts[part]:,})")
    step = -(-classes // 60)
    axes.set_xticks(range(0, classes, step), [_short(c) for c in prepared.classes[::step]])
    axes.tick_params(axis="x", length=0, rotation=90 if classes > 12 else 30 if max(map(len, prepared.classes)) > 4 else 0)
    axes.set_ylabel("share of the part in %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{prepared.name}: balance of the classes", loc="left")
    figure.legend(ncols=3, frameon=False, loc="outside lower center")
    figure.savefig(folder / "balance.png", dpi=100)


def class_shares(prepared: Prepared) -> dict[Part, list[float]]:
    """Return the share of each class in each part, in %, ordered by label."""
    return {part: [100 * n / prepared.counts[part] for n in counts] for part, counts in prepared.class_counts.items()}


def _figure(width_inches: float, height_inches: float) -> Figure:
    """Make a figure that draws to files. It needs no display and leaves no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 16 else name[:15] + "…"
