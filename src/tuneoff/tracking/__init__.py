"""Views of the record in MLflow and TensorBoard. `sync_study` rebuilds lost views from the record."""

from .bring_level import bring_level
from .delivery import Delivery, attempt, attempt_within
from .mlflow.runs import tracking_uri
from .tracker import Counts, Tracker, backlog, sync_study

__all__ = ["Counts", "Delivery", "Tracker", "attempt", "attempt_within", "backlog", "bring_level", "sync_study", "tracking_uri"]
