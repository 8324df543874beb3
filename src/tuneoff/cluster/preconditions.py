"""Check the conditions that a study must meet to run on a cluster."""

from __future__ import annotations

from ..core.errors import StudyError
from ..core.study import Study
from ..objectives import objective_of
from .upload_datasets import to_be_copied

NO_TTL = "cluster.ttl_seconds has no effect on KFP 2.17, whose own setting keeps the pods of a run for one hour"


def refuse_what_stays_here(study: Study, file: str, submitting: bool = False) -> None:
    """Raise StudyError if the study needs a local file that the cluster cannot read and `submit` cannot copy.

    Args:
        study: The study.
        file: Name of the study file, for the message.
        submitting: Whether `submit` calls this and will copy data sets, if `artifacts` is an S3 URI.
    """
    copies = submitting and str(study.artifacts).startswith("s3://")
    for dataset in study.datasets:
        if dataset.path is None or study.cluster.reaches(dataset.path) or (copies and to_be_copied(study, dataset)):
            continue
        why = f"the data set {dataset.path!r} is on this machine, where the cluster cannot read it"
        remedy = "Give an s3:// URI, or a path on the cluster's volume (cluster.volume)."
        if not submitting:
            remedy += " `tuneoff submit` copies the file if artifacts is an s3:// URI."
        raise StudyError(f"{file}: {why}. {remedy}")
    for path in objective_of(study).local_files(study):
        if not study.cluster.reaches(path):
            why = f"the table {path!r} is on this machine, where the cluster cannot read it"
            raise StudyError(f"{file}: {why}. Give an s3:// URI, or run the study here.")


def store_on_cluster(study: Study) -> str:
    """Return the location of the record that all pods share.

    Returns:
        `artifacts` if it is an s3:// URI or a path on the volume. Without `artifacts`, runs/NAME on the volume.

    Raises:
        StudyError: `artifacts` is a local folder, or the study names neither `artifacts` nor a volume.
    """
    volume, artifacts = study.cluster.volume, study.artifacts
    if artifacts is not None and study.cluster.reaches(artifacts):
        return artifacts.rstrip("/")
    if artifacts is not None:
        raise StudyError(
            f"artifacts: {artifacts!r} is a folder on this machine. Give an s3:// URI, or a path on the cluster's volume"
            " (cluster.volume)."
        )
    if volume is None:
        raise StudyError(
            "The study names no storage that all pods share. Set artifacts: s3://bucket/prefix, or cluster.volume with a claim."
        )
    return f"{volume.mount}/runs/{study.name}"
