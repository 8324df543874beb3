"""The names of everything that a study leaves in its store, in one place."""

from __future__ import annotations

STUDY = "study.json"
STOP = "stop.json"
"""Is there while the study has been asked to stop."""
REPORT = "report/"
TENSORBOARD = "tensorboard/"
RECORD = "record/"
MLFLOW_DATABASE = "mlflow.db"
MLFLOW_ARTIFACTS = "mlflow-artifacts"


def events(dataset: str, label: str, seed: int) -> str:
    """The event log of one search: one method on one data set with one seed."""
    return f"{RECORD}{dataset}/{label}/seed-{seed}.jsonl"


def checkpoints(dataset: str, label: str, seed: int) -> str:
    """The folder of the weights that a later trial of the search may continue."""
    return f"checkpoints/{dataset}/{label}/seed-{seed}/"


def system(dataset: str, label: str, seed: int) -> str:
    """The folder of the best model of a system that trains its own: model.zip, and model.json, which says what it is."""
    return f"systems/{dataset}/{label}/seed-{seed}/"


def input_copy(dataset: str) -> str:
    """A copy of a data set's .npz, for pods that cannot fetch it."""
    return f"inputs/{dataset}.npz"


def input_note(dataset: str) -> str:
    """What the copy is: its sum, its size, where it comes from."""
    return f"inputs/{dataset}.json"


def prepared(dataset: str) -> str:
    """The metadata and pictures of a prepared data set."""
    return f"data/{dataset}/"


def evaluation(dataset: str, label: str) -> str:
    """The folder of what the evaluator found: evaluation.json, model.keras and pictures."""
    return f"evaluations/{dataset}/{label}/"


def failure(step: str, dataset: str, label: str = "all") -> str:
    """Why a step of a cell failed; deleted when the step succeeds."""
    return f"failures/{dataset}/{label}/{step}.json"


def delivered(dataset: str, label: str) -> str:
    """How much of a cell the tracking server is known to have."""
    return f"delivered/{dataset}/{label}.json"


def tensorboard_run(dataset: str, label: str, seed: int, trial: int) -> str:
    """The event file of one trial; one log folder a data set."""
    return f"{TENSORBOARD}{dataset}/{label}-seed{seed}-trial{trial:04d}/events.out.tfevents.0.tuneoff"
