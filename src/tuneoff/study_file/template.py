"""A first study file, with every section explained, from a few choices."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import StudyError
from ..core.study import Dataset
from ..data.npz import look_at_npz
from ..data.registry import BUILTINS
from .check import check
from .faults import did_you_mean
from .yaml_reader import parse


@dataclass(frozen=True)
class Choices:
    """What the file is made from; a data set is a built-in one's name or the path of an .npz."""

    name: str = "my-study"
    data: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    epochs: int | None = None
    trials: int | None = None
    epochs_per_trial: int = 5
    seeds: int = 1


DEFAULT_DATA = "fashion_mnist"
DEFAULT_METHODS = ("random", "bayes", "hyperband")
DEFAULT_TRIALS = 10


def write(choices: Choices, file: Path) -> None:
    """Write the study file; StudyError where there is a file already, or a choice is not taken."""
    text = text_of(choices, file.parent)
    _, faults = check(parse(text), file.parent)
    if faults:
        raise StudyError("\n".join(f"{f.message[:1].upper()}{f.message[1:]}." for f in faults))
    try:
        with open(file, "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise StudyError(f"{file} exists already: give another name, or remove it first.") from None


def text_of(choices: Choices, folder: Path) -> str:
    """The study file as text; relative paths of data are written as seen from its folder."""
    return "".join(
        [
            "# A Tuneoff study: `tuneoff validate FILE` checks it, `tuneoff plan FILE` says what it takes, `tuneoff run FILE`\n",
            "# runs it. Sections that are commented out stand at their defaults; docs/study.md explains all of them.\n\n",
            "# Of folders, tags and MLflow runs.\n",
            f"name: {choices.name}\n\n",
            *_datasets(choices, folder),
            "\n# Each searches every data set with every seed; `tuneoff methods` lists all, with their settings in --json.\n",
            "methods:\n",
            *(_method(name) for name in choices.methods or DEFAULT_METHODS),
            *_budget(choices),
            "\n# A search each: how much the methods differ can only be told over several.\n",
            f"seeds: [{', '.join(map(str, range(choices.seeds)))}]\n",
            _REST,
        ]
    )


def _datasets(choices: Choices, folder: Path) -> list[str]:
    listed = ["# Built-in data sets, or .npz files with x_train, y_train and, if there are any, x_test, y_test.\n", "datasets:\n"]
    if not choices.data:
        small = "subset: {train: 2000, validation: 500, test: 2000}, image_size: 14"
        listed.append("  # A small part of it, to begin with; leave subset and image_size out for all of it.\n")
        return [*listed, f"  - {{name: {DEFAULT_DATA}, {small}}}\n"]
    return [*listed, *(line for given in choices.data for line in _dataset(given, folder))]


def _dataset(given: str, folder: Path) -> list[str]:
    if given in BUILTINS:
        known = BUILTINS[given]
        return [f"  - {given} # {known.title}: images {_by(known.shape)}, {len(known.class_names)} classes\n"]
    if not given.endswith(".npz") and "/" not in given:
        hint = did_you_mean(given, list(BUILTINS))
        raise StudyError(f"--data {given!r} is no data set{hint}: choose {', '.join(BUILTINS)}, or give the path of an .npz.")
    name = Dataset.model_validate(given).name
    if "://" in given:
        return [f"  - {{name: {name}, path: {_quoted(given)}}}\n"]
    path = Path(given).expanduser()
    shapes, classes = look_at_npz(path, given)
    train, test = shapes["x_train"], shapes.get("x_test")
    tested = f"{test[0]:,} to test" if test else "split.test of them held out to test"
    listed = [f"  # {classes} classes, images {_by(train[1:])}: {train[0]:,} to train and validate, {tested}.\n"]
    place = str(path) if path.is_absolute() else os.path.relpath(path, folder)
    return [*listed, f"  - {{name: {name}, path: {_quoted(place)}}}\n"]


def _method(name: str) -> str:
    if name in ("grid", "sklearn-grid"):
        return f"  - {{name: {name}, settings: {{order: shuffled}}}} # all over the grid; order: sklearn begins in one corner\n"
    return f"  - {name}\n"


def _budget(choices: Choices) -> Sequence[str]:
    trials, epochs = choices.trials, choices.epochs
    if trials is None and epochs is None:
        epochs = DEFAULT_TRIALS * choices.epochs_per_trial
    return [
        "\n# What each method may spend on each data set with each seed: at least one of trials, epochs and seconds.\n",
        "budget:\n",
        *([f"  epochs: {epochs} # trained in all\n"] if epochs is not None else []),
        *([f"  trials: {trials} # configurations started\n"] if trials is not None else []),
        f"  epochs_per_trial: {choices.epochs_per_trial} # of a full training\n",
    ]


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_REST = """
# The network: paper-cnn, or module:function of your own that builds a Keras model from a configuration.
# model: paper-cnn

# The hyperparameters; by default the seven of the paper's network.
# space:
#   learning_rate: {type: float, low: 0.0001, high: 0.1, log: true, grid_points: 4}
#   filters1: {type: categorical, values: [16, 32, 64]}
#   neurons: {type: int, low: 32, high: 256, step: 32}

# What is optimised: the best epoch's validation accuracy.
# objective: {metric: val_accuracy, epoch: best}

# How much of the training images is held out for validation.
# split: {validation: 0.2, seed: 0}

# How each configuration is trained.
# training: {batch_size: 32, precision: float32}

# How often the best configuration is trained anew, to be scored on the test images.
evaluation: {seeds: 1}

# Searches side by side, and tries of a step that fails; on a cluster also cpu, memory and gpu.
# resources: {workers: 2, retries: 1}

# Where the pods of a cluster run, what they mount and which images they take: docs/submit.md.
# cluster: {namespace: bakeoffs, volume: {claim: results, mount: /results}}

# For `tuneoff table build`: some configurations of the grid trained with more seeds.
# noise: {configurations: 20, seeds: [1, 2]}

# An MLflow server; by default SQLite in the output folder.
# tracking: {uri: http://127.0.0.1:5000}

# A folder or s3://bucket/prefix for all results; by default the output folder.
# artifacts: s3://bucket/prefix
"""
