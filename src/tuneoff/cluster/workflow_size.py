"""Estimate the size of a study's Argo workflow, and refuse a study that one workflow cannot hold.

Argo stores a workflow in one object: its specification uncompressed, and the states of its nodes compressed. Argo ends a workflow
that grows beyond 1 MiB. The constants were measured with KFP 2.17 and Argo 4.0.5 on 2026-11-30, from the specifications of 1, 4
and 8 data sets and of 60 methods (50, 96, 157 and 63 kB), from the nodes of a finished run of 8 cells (184 nodes, 106 kB
compressed), and from the compressed size of copies of these nodes with other ids. The objects of two finished runs took 174 069
bytes (8 cells) and 312 819 bytes (24 cells, 472 nodes); the estimates are 172 and 312 kB.
"""

from __future__ import annotations

from ..core.errors import StudyError
from ..core.study import Study

ARGO_BYTES = 1024 * 1024
LARGEST_BYTES = 950_000
"""One tenth of the limit is reserved for what the estimate ignores: long names, many variables, secrets and tolerations."""
PIPELINE_BYTES = 29_000
DATASET_BYTES = 33_000  # per data set: 15 kB of the specification, and its nodes
CELL_BYTES = 8_600  # per cell: about 18 nodes
COPIES_OF_THE_STUDY = 4.3  # in the specification of a study with one data set


def workflow_bytes(study: Study) -> int:
    """Return the estimated size in bytes of the study's workflow object after all of its steps have run."""
    text = len(study.model_dump_json(exclude={"cluster"})) * (COPIES_OF_THE_STUDY + len(study.datasets) - 1)
    return round(PIPELINE_BYTES + DATASET_BYTES * len(study.datasets) + CELL_BYTES * len(study.cells) + text)


def refuse_too_large(study: Study) -> None:
    """Raise StudyError if one workflow cannot hold the study."""
    if (excess := too_large(study)) is not None:
        raise StudyError(excess)


def too_large(study: Study) -> str | None:
    """Return an error message if one workflow cannot hold the study, else None."""
    needed = workflow_bytes(study)
    if needed <= LARGEST_BYTES:
        return None
    return (
        f"The study has {len(study.datasets)} data sets × {len(study.methods)} methods = {len(study.cells)} cells. Its workflow"
        f" would grow to about {needed / ARGO_BYTES:.1f} MiB, but Argo ends a workflow at 1 MiB. Split the data sets into several"
        " studies, or use fewer methods. The number of seeds does not matter: seeds add no cells."
    )
