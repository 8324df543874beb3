"""Trials as rows, made by hand, for tests of what is computed from rows alone."""

from __future__ import annotations

from typing import Any

from tuneoff.analysis.trial_rows import TrialRow

CONFIG: dict[str, Any] = {
    "dropout": 0.1,
    "activation": "relu",
    "filters1": 16,
    "filters2": 128,
    "neurons": 256,
    "optimizer": "Adam",
    "learning_rate": 0.001,
}


def row(accuracy: float | None, val_accuracy: float | None = None, **fields: Any) -> TrialRow:
    """A completed trial of ten epochs with these accuracies; the same for both where only one is given."""
    val = accuracy if val_accuracy is None else val_accuracy
    whole: dict[str, Any] = {
        "dataset": "mnist",
        "method": "random",
        "seed": 0,
        "trial": 0,
        "config_id": fields.get("trial", 0),
        "parent": None,
        "inherit": None,
        "status": "completed",
        "reason": None,
        "config": CONFIG,
        "first_epoch": 0,
        "target_epoch": 10,
        "epochs": 10,
        "trained_epochs": 10,
        "objective": val,
        "counted_epoch": 10,
        "accuracy": accuracy,
        "val_accuracy": val,
        "loss": 0.1,
        "val_loss": 0.2,
        "seconds": 1.0,
        "method_seconds": 0.0,
        "device": None,
        "peak_memory_bytes": None,
        "attempts": 1,
        "asked_at": 0.0,
        "started_at": 0.0,
        "told_at": 1.0,
    }
    return TrialRow.model_validate({**whole, **fields})
