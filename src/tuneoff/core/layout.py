"""The names of all files and folders in a study's store."""

from __future__ import annotations

STUDY = "study.json"
STOP = "stop.json"
"""Exists while a request to stop the study is active."""
REPORT = "report/"
TENSORBOARD = "tensorboard/"
RECORD = "record/"
MLFLOW_DATABASE = "mlflow.db"
MLFLOW_ARTIFACTS = "mlflow-artifacts"


def events(dataset: str, label: str, seed: int) -> str:
    """Return the name of the event log of one search: one method on one data set with one seed."""
    return f"{RECORD}{dataset}/{label}/seed-{seed}.jsonl"


def checkpoints(dataset: str, label: str, seed: int) -> str:
    """Return the folder of the checkpoints that later trials of the search may resume from."""
    return f"checkpoints/{dataset}/{label}/seed-{seed}/"


def system(dataset: str, label: str, seed: int) -> str:
    """Return the folder of the best model of a system that trains its own models: model.zip and its description model.json."""
    return f"systems/{dataset}/{label}/seed-{seed}/"


def input_copy(dataset: str) -> str:
    """Return the name of the copy of a data set's .npz, for pods that cannot fetch it."""
    return f"inputs/{dataset}.npz"


def input_note(dataset: str) -> str:
    """Return the name of the note on that copy: its checksum, size and source."""
    return f"inputs/{dataset}.json"


def prepared(dataset: str) -> str:
    """Return the folder of the metadata and figures of a prepared data set."""
    return f"data/{dataset}/"


def evaluation(dataset: str, label: str) -> str:
    """Return the folder of an evaluation: evaluation.json, model.keras and figures."""
    return f"evaluations/{dataset}/{label}/"


def failure(step: str, dataset: str, label: str = "all") -> str:
    """Return the name of the file with the reason why a step failed. It is deleted when the step succeeds."""
    return f"failures/{dataset}/{label}/{step}.json"


def delivered(dataset: str, label: str) -> str:
    """Return the name of the note on how much of a cell has been delivered to the tracking server."""
    return f"delivered/{dataset}/{label}.json"


def tensorboard_run(dataset: str, label: str, seed: int, trial: int) -> str:
    """Return the name of the TensorBoard event file of one trial. Each data set has one log folder."""
    return f"{TENSORBOARD}{dataset}/{label}-seed{seed}-trial{trial:04d}/events.out.tfevents.0.tuneoff"
