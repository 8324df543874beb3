"""What a study must fulfil before it can run on a cluster."""

from __future__ import annotations

from ..core.errors import StudyError
from ..core.study import Study
from ..objectives import objective_of
from .upload_datasets import to_be_copied

NO_TTL = "cluster.ttl_seconds has no effect on KFP 2.17, whose own settings keep the pods of a run for an hour"


def refuse_what_stays_here(study: Study, file: str, submitting: bool = False) -> None:
    """Raise StudyError where the study needs a file of this machine that a cluster cannot read, and `submit` cannot copy."""
    copies = submitting and str(study.artifacts).startswith("s3://")
    for dataset in study.datasets:
        if dataset.path is None or study.cluster.reaches(dataset.path) or (copies and to_be_copied(study, dataset)):
            continue
        why = f"the data set {dataset.path!r} lies on this machine, where a cluster cannot read it"
        remedy = "give an s3:// URI, or a path on the cluster's volume (cluster.volume)"
        if not submitting:
            remedy += "; `tuneoff submit` copies it, if artifacts is an s3:// URI"
        raise StudyError(f"{file}: {why}: {remedy}.")
    for path in objective_of(study).local_files(study):
        if not study.cluster.reaches(path):
            raise StudyError(f"{file}: the table {path!r} lies on this machine: give an s3:// URI, or run the study here.")


def store_on_cluster(study: Study) -> str:
    """Where all pods find the record: `artifacts` where it is an s3:// URI or lies on the volume, else the volume's runs/NAME."""
    volume, artifacts = study.cluster.volume, study.artifacts
    if artifacts is not None and study.cluster.reaches(artifacts):
        return artifacts.rstrip("/")
    if artifacts is not None:
        raise StudyError(
            f"artifacts: {artifacts!r} is a folder of this machine: give an s3:// URI, or a path on the cluster's volume"
            " (cluster.volume)."
        )
    if volume is None:
        raise StudyError(
            "The study says no place that all pods share: give artifacts: s3://bucket/prefix, or cluster.volume with a claim."
        )
    return f"{volume.mount}/runs/{study.name}"
