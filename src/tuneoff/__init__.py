"""Tuneoff: a bake-off of hyperparameter-optimisation methods with equal budgets, several seeds and every trial on record."""

__version__ = "0.1.0"
