"""Views of the record in MLflow and TensorBoard. `sync_study` rebuilds lost views from the record."""

from .delivery import Delivery, attempt, attempt_within
from .final_sync import bring_level
from .mlflow.runs import tracking_uri
from .tracker import Counts, Tracker, backlog, sync_study

__all__ = ["Counts", "Delivery", "Tracker", "attempt", "attempt_within", "backlog", "bring_level", "sync_study", "tracking_uri"]
