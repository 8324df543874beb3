"""The published results of Molnár and Poleczki, and their comparison with the study's results.

Source: M. Molnár, Á. Poleczki, "State-of-the-art hyperparameter optimization methods" (Budapest University of Technology and
Economics). Numbers are as printed; accuracies are converted to shares of 1. Tables I to III list the best trial of each method on
MNIST, Fashion-MNIST and CIFAR-10. Tables IV to VI list the ten best trials of three methods on Fashion-MNIST.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...core.prepared_data import PARTS, Part, Prepared
from ...core.space import PAPER_SPACE, Model, Value
from ...core.study import Budget, Dataset, Study
from ...core.text import count, listed
from ...methods.registry import stand_ins
from ..summaries import CellScore
from ..trial_rows import TrialRow

TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
NUMBERS = {"mnist": "I", "fashion_mnist": "II", "cifar10": "III"}
METHODS = {"grid": "Grid Search", "random": "Random Search", "bayes": "Bayesian optimisation", "hyperband": "HyperBand"}
SHAPES = {"mnist": (28, 28, 1), "fashion_mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
IMAGES: Mapping[str, Mapping[Part, int]] = {"mnist": {"train": 48_000, "validation": 12_000, "test": 10_000}}
"""Numbers of images; the paper states them for MNIST only."""
EPOCHS = 10
TRIALS = (
    "120 configurations for Random Search, about the same running time for the other methods,"
    " and all 2880 configurations for Grid Search, on MNIST only"
)
ORDER_NOTE = (
    "The paper's ten trials appear to be the best by training accuracy. Ours are the best by the study's objective, over all"
    " seeds. Rows with the same rank are therefore not the same configuration."
)
LOSS_NOTE = "In the paper's Random Search rows, the loss and the validation loss appear to be swapped."


class Metrics(Model):
    """The four metrics of one epoch, or differences between them; accuracies are shares of 1."""

    accuracy: float | None
    val_accuracy: float | None
    loss: float | None
    val_loss: float | None


class PaperTrial(Model):
    """One of the paper's ten best trials, as printed."""

    config: dict[str, Value]
    metrics: Metrics


class BestRow(Model):
    """One row of tables I to III. `label` is None if the study does not have the method on this data set."""

    method: str  # the paper's method: a key of METHODS
    label: str | None
    paper: Metrics | None  # None if the paper did not run the method on the data set
    ours: Metrics | None
    delta: Metrics | None  # ours minus the paper's
    status: str  # "run", "not run" or "no result yet"
    trials: int | None  # number of our configurations, over all seeds
    seeds: int | None
    epochs: int | None  # epochs of our best trial


class FidelityRow(Model):
    """One property in which our study may differ from the paper's. `same` is None if the paper does not state it."""

    what: str
    paper: str
    ours: str
    same: bool | None


class BestTable(Model):
    """One of tables I to III."""

    number: str
    dataset: str
    title: str
    in_study: bool
    rows: list[BestRow]
    fidelity: list[FidelityRow]
    differs: list[str]  # the properties that differ from the paper's


class TenTable(Model):
    """One of tables IV to VI."""

    number: str
    method: str
    title: str
    label: str | None
    paper: list[PaperTrial]
    ours: list[TrialRow]
    notes: list[str]


class Comparison(Model):
    """The paper's tables with our results; both lists are empty if the study has none of the paper's data sets."""

    best: list[BestTable]
    ten: list[TenTable]


def _metrics(accuracy: float, val_accuracy: float, loss: float, val_loss: float) -> Metrics:
    return Metrics(accuracy=round(accuracy / 100, 7), val_accuracy=round(val_accuracy / 100, 7), loss=loss, val_loss=val_loss)


BEST: Mapping[tuple[str, str], Metrics] = {
    ("mnist", "grid"): _metrics(99.915, 98.892, 0.0036708, 0.091984),
    ("mnist", "random"): _metrics(99.792, 99.000, 0.12749, 0.069942),
    ("mnist", "bayes"): _metrics(99.821, 98.600, 0.0055018, 0.077322),
    ("mnist", "hyperband"): _metrics(98.822, 98.904, 0.17447, 0.057610),
    ("fashion_mnist", "random"): _metrics(98.775, 93.083, 0.31435, 0.38346),
    ("fashion_mnist", "bayes"): _metrics(99.267, 92.742, 0.021059, 0.40492),
    ("fashion_mnist", "hyperband"): _metrics(92.100, 91.483, 0.41605, 0.34986),
    ("cifar10", "random"): _metrics(88.650, 69.630, 1.3964, 1.1351),
    ("cifar10", "bayes"): _metrics(94.549, 66.921, 0.16228, 1.5018),
    ("cifar10", "hyperband"): _metrics(93.875, 68.980, 1.3740, 1.3417),
}
"""Tables I to III by data set and method."""

_COLUMNS = ("dropout", "activation", "filters1", "filters2", "neurons", "optimizer", "learning_rate")
_TEN = {
    "random": """
        0.124 relu 16 128 256 Adam 0.001 0.988 0.931 0.383 0.314
        0.0832 relu 16 32 256 Adam 0.001 0.984 0.929 0.408 0.321
        0.155 relu 32 128 128 Adam 0.001 0.976 0.929 0.407 0.302
        0.0689 relu 16 16 256 Adam 0.001 0.976 0.925 0.432 0.302
        0.096 relu 16 16 256 Adam 0.001 0.975 0.93 0.425 0.29
        0.301 relu 64 64 256 Adam 0.001 0.968 0.933 0.419 0.273
        0.194 relu 128 32 128 Adam 0.001 0.963 0.931 0.433 0.295
        0.408 relu 64 128 256 Adam 0.001 0.96 0.936 0.43 0.284
        0.185 relu 32 32 64 Adam 0.001 0.951 0.928 0.474 0.295
        0.0247 relu 16 16 256 Adam 0.01 0.937 0.896 0.421 0.452""",
    "bayes": """
        0.00574 relu 16 128 256 Adam 0.001 0.993 0.927 0.0211 0.405
        0.00867 relu 16 128 256 Adam 0.001 0.991 0.925 0.0256 0.357
        0.0985 relu 128 128 256 Adam 0.001 0.989 0.923 0.0305 0.394
        0.108 relu 16 128 256 Adam 0.001 0.989 0.919 0.0324 0.408
        0.0934 relu 16 128 256 Adam 0.001 0.989 0.925 0.0319 0.365
        0 relu 128 128 64 Adam 0.001 0.989 0.92 0.0316 0.424
        0.138 relu 16 128 256 Adam 0.001 0.989 0.925 0.0327 0.346
        0.0282 relu 16 64 256 Adam 0.001 0.988 0.928 0.0326 0.345
        0.115 relu 16 128 256 Adam 0.001 0.988 0.926 0.0329 0.373
        0 relu 16 64 256 Adam 0.001 0.988 0.922 0.0332 0.372""",
    "hyperband": """
        0.22 relu 16 32 256 RMSprop 0.001 0.921 0.915 0.416 0.35
        0.0142 relu 16 64 128 SGD 0.01 0.905 0.897 0.743 0.585
        0.095 relu 16 64 256 Adam 0.01 0.881 0.885 0.454 0.398
        0.363 relu 64 128 128 SGD 0.01 0.85 0.868 0.846 0.568
        0.23 relu 16 16 256 RMSprop 0.01 0.828 0.846 0.579 0.515
        0.317 relu 32 128 64 RMSprop 0.01 0.823 0.85 0.689 0.508
        0.327 relu 16 16 64 SGD 0.01 0.813 0.846 0.969 0.609
        0.144 relu 64 128 64 SGD 0.01 0.793 0.819 0.827 0.57
        0.281 relu 16 32 256 SGD 0.01 0.787 0.824 0.809 0.579
        0.473 relu 128 16 256 Adam 0.01 0.771 0.825 0.748 0.567""",
}


def _trial(line: str) -> PaperTrial:
    cells = line.split()
    kinds = (float, str, int, int, int, str, float)
    config = {name: kind(cell) for name, kind, cell in zip(_COLUMNS, kinds, cells, strict=False)}
    accuracy, val_accuracy, loss, val_loss = map(float, cells[7:])
    return PaperTrial(config=config, metrics=Metrics(accuracy=accuracy, val_accuracy=val_accuracy, loss=loss, val_loss=val_loss))


TEN_BEST: Mapping[str, list[PaperTrial]] = {
    method: [_trial(line) for line in block.strip().splitlines()] for method, block in _TEN.items()
}
"""Tables IV to VI, all on Fashion-MNIST, by method."""


def compare(
    study: Study,
    scores: Sequence[CellScore],
    prepared: Mapping[str, Prepared],
    ten: Mapping[tuple[str, str], Sequence[TrialRow]],
) -> Comparison:
    """Return the paper's six tables with our results.

    Only built-in data sets are compared: a user's own file that is named mnist is not MNIST.

    Args:
        study: The study.
        scores: The scores of the study's cells.
        prepared: The prepared data sets by name.
        ten: Our ten best trials by data set and label.
    """
    datasets = {d.name: d for d in study.datasets if d.path is None and d.name in TITLES}
    if not datasets:
        return Comparison(best=[], ten=[])
    tables = [_best_table(name, datasets.get(name), study, scores, prepared.get(name)) for name in TITLES]
    numbers = zip(("IV", "V", "VI"), TEN_BEST, strict=True)
    in_study = "fashion_mnist" in datasets
    return Comparison(best=tables, ten=[t for n, m in numbers for t in _ten_tables(n, m, in_study, scores, ten)])


def _best_table(
    name: str, dataset: Dataset | None, study: Study, scores: Sequence[CellScore], prepared: Prepared | None
) -> BestTable:
    rows = []
    for method in METHODS:
        ours = _standing_for(method, name, scores) if dataset else []
        paper = BEST.get((name, method))
        if paper or ours:
            rows += [_best_row(method, paper, s) for s in ours] or [_best_row(method, paper, None)]
    fidelity = fidelity_rows(name, dataset, study, prepared) if dataset else []
    return BestTable(
        number=NUMBERS[name],
        dataset=name,
        title=TITLES[name],
        in_study=dataset is not None,
        rows=rows,
        fidelity=fidelity,
        differs=[f"{row.what.lower()}: {row.ours} (paper: {row.paper})" for row in fidelity if row.same is False],
    )


def _standing_for(method: str, dataset: str, scores: Sequence[CellScore]) -> list[CellScore]:
    """Return the scores of all methods that implement one of the paper's on a data set, the most similar to the paper's first."""
    return [s for name in stand_ins(method) for s in scores if s.dataset == dataset and s.name == name]


def _best_row(method: str, paper: Metrics | None, score: CellScore | None) -> BestRow:
    best = score.best if score else None
    ours = None
    if best:
        ours = Metrics(accuracy=best.accuracy, val_accuracy=best.val_accuracy, loss=best.loss, val_loss=best.val_loss)
    return BestRow(
        method=method,
        label=score.method if score else None,
        paper=paper,
        ours=ours,
        delta=less(ours, paper) if ours and paper else None,
        status="not run" if score is None or not score.usage.searches else "run" if best else "no result yet",
        trials=score.usage.configurations if score and best else None,
        seeds=score.incumbents.n if score and best else None,
        epochs=best.epochs if best else None,
    )


def less(ours: Metrics, paper: Metrics) -> Metrics:
    """Return our metrics minus the paper's."""

    def minus(a: float | None, b: float | None) -> float | None:
        return None if a is None or b is None else a - b

    return Metrics(
        accuracy=minus(ours.accuracy, paper.accuracy),
        val_accuracy=minus(ours.val_accuracy, paper.val_accuracy),
        loss=minus(ours.loss, paper.loss),
        val_loss=minus(ours.val_loss, paper.val_loss),
    )


def _ten_tables(
    number: str,
    method: str,
    in_study: bool,
    scores: Sequence[CellScore],
    ten: Mapping[tuple[str, str], Sequence[TrialRow]],
) -> list[TenTable]:
    """Return one table for each label of the method; if the study does not have the method, one table without our results."""
    labels: list[str | None] = [s.method for s in _standing_for(method, "fashion_mnist", scores)] if in_study else []
    notes = [ORDER_NOTE, *([LOSS_NOTE] if method == "random" else [])]
    return [
        TenTable(
            number=number,
            method=method,
            title=METHODS[method],
            label=label,
            paper=TEN_BEST[method],
            ours=list(ten.get(("fashion_mnist", label), [])) if label else [],
            notes=notes,
        )
        for label in (labels or [None])
    ]


def fidelity_rows(name: str, dataset: Dataset, study: Study, prepared: Prepared | None) -> list[FidelityRow]:
    """Return the properties of our study on this data set next to the paper's."""
    same_space = study.space == PAPER_SPACE
    budget = _budget(study.budget)
    return [
        _row("Network", "the paper's", "the paper's" if study.model == "paper-cnn" else study.model),
        _row("Search space", "seven hyperparameters", "the same" if same_space else "a different one", same_space),
        _row("Epochs per trial", str(EPOCHS), str(study.budget.epochs_per_trial)),
        _row("Image", _shape(SHAPES[name]), _our_shape(name, dataset, prepared)),
        *[_images(name, dataset, study, prepared, part) for part in PARTS],
        _row("Budget of a method", TRIALS, f"{budget} per seed", None if study.budget.trials == 120 else False),
        _row("Seeds", "not stated", str(len(study.seeds)), None),
        _row("Precision and batch size", "not stated", f"{study.training.precision}, {study.training.batch_size}", None),
    ]


def _images(name: str, dataset: Dataset, study: Study, prepared: Prepared | None, part: Part) -> FidelityRow:
    """Return the number of images in a part; a subset counts as different even if the paper states no number."""
    what = {"train": "Training images", "validation": "Validation images", "test": "Test images"}[part]
    stated = IMAGES.get(name, {}).get(part)
    paper = count(stated) if stated else "not stated"
    if part == "validation" and study.split.folds:
        return _row(what, paper, f"{study.split.folds}-fold cross-validation", False)
    kept: int | None = dataset.subset.model_dump()[part]
    ours = prepared.counts.get(part) if prepared else kept
    if ours is None:
        return _row(what, paper, "not known yet", None)
    return _row(what, paper, count(ours), stated == ours if stated else None if kept is None else False)


def _row(what: str, paper: str, ours: str, *same: bool | None) -> FidelityRow:
    return FidelityRow(what=what, paper=paper, ours=ours, same=same[0] if same else paper == ours)


def _shape(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))


def _our_shape(name: str, dataset: Dataset, prepared: Prepared | None) -> str:
    if prepared:
        return _shape(prepared.input_shape)
    height, width, channels = SHAPES[name]
    return _shape((dataset.image_size or height, dataset.image_size or width, channels))


def _budget(budget: Budget) -> str:
    limits = {"configurations": budget.trials, "epochs": budget.epochs, "seconds": budget.seconds}
    return listed([f"{count(v)} {k}" for k, v in limits.items() if v is not None])
