"""Write a first study file from a few choices, with a comment on every section."""

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
    """The choices that the file is made from. A data set is the name of a built-in one, or the path of an .npz file."""

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
    """Write the study file.

    Raises:
        StudyError: The file exists already, or a choice is not valid.
    """
    text = text_of(choices, file.parent)
    _, faults = check(parse(text), file.parent)
    if faults:
        raise StudyError("\n".join(f"{f.message[:1].upper()}{f.message[1:]}." for f in faults))
    try:
        with open(file, "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise StudyError(f"{file} exists already. Give another file name, or remove the file first.") from None


def text_of(choices: Choices, folder: Path) -> str:
    """Return the study file as text. Relative paths of data are written relative to `folder`, the file's folder."""
    return "".join(
        [
            "# A Tuneoff study. `tuneoff validate FILE` checks it, `tuneoff plan FILE` estimates its time and disk space, and\n",
            "# `tuneoff run FILE` runs it. A section that is commented out is optional and has a default value.\n",
            "# docs/study.md explains every section and field.\n\n",
            "# The study's name. It appears in the names of folders, tags and MLflow runs.\n",
            f"name: {choices.name}\n\n",
            *_datasets(choices, folder),
            "\n# The methods to compare. Each method searches every data set with every seed.\n",
            "# `tuneoff methods` lists all methods, and `tuneoff methods --json` also their settings.\n",
            "methods:\n",
            *(_method(name) for name in choices.methods or DEFAULT_METHODS),
            *_budget(choices),
            "\n# Each seed is one search per method and data set. Use several seeds to tell a real difference from chance.\n",
            f"seeds: [{', '.join(map(str, range(choices.seeds)))}]\n",
            _REST,
        ]
    )


def _datasets(choices: Choices, folder: Path) -> list[str]:
    listed = [
        "# Names of built-in data sets, or paths of .npz files with x_train and y_train, and optionally x_test and y_test.\n",
        "datasets:\n",
    ]
    if not choices.data:
        small = "subset: {train: 2000, validation: 500, test: 2000}, image_size: 14"
        listed.append("  # A small part of the data, for a first try. Remove subset and image_size to use all of the data.\n")
        return [*listed, f"  - {{name: {DEFAULT_DATA}, {small}}}\n"]
    return [*listed, *(line for given in choices.data for line in _dataset(given, folder))]


def _dataset(given: str, folder: Path) -> list[str]:
    if given in BUILTINS:
        known = BUILTINS[given]
        return [f"  - {given} # {known.title}: images {_by(known.shape)}, {len(known.class_names)} classes\n"]
    if not given.endswith(".npz") and "/" not in given:
        hint = did_you_mean(given, list(BUILTINS))
        choices = f"choose {', '.join(BUILTINS)}, or give the path of an .npz file"
        raise StudyError(f"--data {given!r} is not a built-in data set{hint}: {choices}.")
    name = Dataset.model_validate(given).name
    if "://" in given:
        return [f"  - {{name: {name}, path: {_quoted(given)}}}\n"]
    path = Path(given).expanduser()
    shapes, classes = look_at_npz(path, given)
    train, test = shapes["x_train"], shapes.get("x_test")
    tested = f"{test[0]:,} for testing" if test else "of which split.test is held out for testing"
    listed = [f"  # {classes} classes, images {_by(train[1:])}: {train[0]:,} for training and validation, {tested}.\n"]
    place = str(path) if path.is_absolute() else os.path.relpath(path, folder)
    return [*listed, f"  - {{name: {name}, path: {_quoted(place)}}}\n"]


def _method(name: str) -> str:
    if name in ("grid", "sklearn-grid"):
        return f"  - {{name: {name}, settings: {{order: shuffled}}}} # in random order; order: sklearn starts in one corner\n"
    return f"  - {name}\n"


def _budget(choices: Choices) -> Sequence[str]:
    trials, epochs = choices.trials, choices.epochs
    if trials is None and epochs is None:
        epochs = DEFAULT_TRIALS * choices.epochs_per_trial
    return [
        "\n# The budget of each search: one method on one data set with one seed.\n",
        "# Give at least one of trials, epochs and seconds.\n",
        "budget:\n",
        *([f"  epochs: {epochs} # training epochs, summed over all trials\n"] if epochs is not None else []),
        *([f"  trials: {trials} # configurations to try\n"] if trials is not None else []),
        f"  epochs_per_trial: {choices.epochs_per_trial} # epochs of one full trial\n",
    ]


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_REST = """
# The network: paper-cnn, or module:function for your own function that builds a Keras model from a configuration.
# model: paper-cnn

# The search space: the hyperparameters and their values. The default is the seven hyperparameters of paper-cnn.
# space:
#   learning_rate: {type: float, low: 0.0001, high: 0.1, log: true, grid_points: 4}
#   filters1: {type: categorical, values: [16, 32, 64]}
#   neurons: {type: int, low: 32, high: 256, step: 32}

# The score of a trial. By default it is the validation accuracy of the trial's best epoch; higher is better.
# objective: {metric: val_accuracy, epoch: best}

# The share of the training images that is held out for validation.
# split: {validation: 0.2, seed: 0}

# Settings of every training that are not searched.
# training: {batch_size: 32, precision: float32}

# After the search, the best configuration is retrained with this many seeds and scored on the test images.
evaluation: {seeds: 1}

# How many searches run at the same time, and how often a failed step is tried again. On a cluster also cpu, memory and gpu.
# resources: {workers: 2, retries: 1}

# Only for a cluster: the namespace, volume, images and secrets of the pods. See docs/submit.md.
# cluster: {namespace: bakeoffs, volume: {claim: results, mount: /results}}

# Only for `tuneoff table build`: train some configurations of the grid with more seeds.
# noise: {configurations: 20, seeds: [1, 2]}

# An MLflow server for tracking. The default is a SQLite file in the output folder.
# tracking: {uri: http://127.0.0.1:5000}

# A folder or s3://bucket/prefix that all results are written to. The default is the output folder.
# artifacts: s3://bucket/prefix
"""
