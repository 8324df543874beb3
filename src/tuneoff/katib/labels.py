"""Labels and annotations that Katib writes."""

from __future__ import annotations

EXPERIMENT = "katib.kubeflow.org/experiment"
TRIAL = "katib.kubeflow.org/trial"
PARENT = "pbt.suggestion.katib.kubeflow.org/parent"
COLLECTOR_CONTAINER = "metrics-logger-and-collector"
"""The sidecar container that repeats the lines of the training, whose own output goes to a file."""
GROUP, VERSION = "kubeflow.org", "v1beta1"
