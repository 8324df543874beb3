"""Which extra of tuneoff brings which package, in one table: what is missing is said with the line that installs it."""

from __future__ import annotations

import importlib.util

EXTRAS: dict[str, tuple[str, ...]] = {
    "pipeline": ("kfp",),
    "data": ("PIL", "sklearn"),
    "cpu": ("tensorflow", "keras"),
    "grid": ("sklearn",),
    "keras-tuner": ("keras_tuner", "tensorboard"),
    "skopt": ("skopt",),
    "optuna": ("optuna", "cmaes"),
    "hyperopt": ("hyperopt",),
    "cmaes": ("cmaes",),
    "smac": ("smac",),
    "syne-tune": ("syne_tune", "huggingface_hub"),
    "dehb": ("dehb",),
    "nevergrad": ("nevergrad",),
    "ray": ("ray", "bayes_opt", "hyperopt"),
    "flaml": ("flaml", "optuna", "lightgbm"),
    "h2o": ("h2o",),
    "export": ("optuna",),
    "katib": ("kubeflow_katib_api", "kubernetes"),
    "torch": ("torch", "optuna", "ax", "confopt"),
    "vizier": ("vizier", "jax", "jaxlib"),
    "neps": ("neps", "torch"),
    "autokeras": ("autokeras", "keras"),
    "tracking": ("mlflow", "tensorboard"),
    "s3": ("boto3", "botocore"),
    "report": ("pyarrow", "scipy", "sklearn"),
}
"""Extras of pyproject.toml by what is imported of them. `gpu` stands beside `cpu`: the same packages for NVIDIA's GPUs."""


def missing(extra: str) -> list[str]:
    """The packages of an extra that cannot be imported here; imports nothing."""
    return [name for name in EXTRAS[extra] if not importable(name)]


def importable(name: str) -> bool:
    """Whether a top-level package can be found; imports nothing."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # somebody's import hook refuses it
        return False


def remedy(module: str | None) -> str:
    """The command that installs what brings this module; all extras where none is known to."""
    package = (module or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), "all")
    return f"pip install 'tuneoff[{extra}]'"
