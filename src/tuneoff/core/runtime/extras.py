"""Table of the extras of tuneoff and their packages, used to name the command that installs a missing package."""

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
"""Extras of pyproject.toml and the packages imported from them. `gpu` has the same packages as `cpu`, for NVIDIA GPUs."""


def missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed here, without importing them."""
    return [name for name in EXTRAS[extra] if not importable(name)]


def importable(name: str) -> bool:
    """Return whether a top-level package is installed, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # an import hook refused the package
        return False


def remedy(module: str | None) -> str:
    """Return the command that installs the extra with this module, or all extras if the module is unknown."""
    package = (module or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), "all")
    return f"pip install 'tuneoff[{extra}]'"
