"""How large a study one workflow can hold, as measured on a cluster, and what to do with a larger one.

Argo keeps a workflow in one object: its specification unchanged, and the states of its nodes compressed. It ends a workflow that
grows beyond 1 MiB. Measured with KFP 2.17 and Argo 4.0.5 on 2026-11-30: the specifications of 1, 4 and 8 data sets and of 60
methods (50, 96, 157 and 63 kB), the nodes of a finished run of 8 cells (184 nodes, 106 kB compressed), and how copies of these
nodes with other ids compress. Objects of finished runs took 174 069 bytes (8 cells) and 312 819 (24 cells, 472 nodes), where the
estimate is 172 and 312 kB.
"""

from __future__ import annotations

from ..core.errors import StudyError
from ..core.study import Study

ARGO_BYTES = 1024 * 1024
LARGEST_BYTES = 950_000
"""A tenth is left for what the estimate does not see: long names, many variables, secrets and tolerations."""
PIPELINE_BYTES = 29_000
DATASET_BYTES = 33_000  # of a data set: 15 kB of the specification, and its nodes
CELL_BYTES = 8_600  # of a cell: some 18 nodes
COPIES_OF_THE_STUDY = 4.3  # in the specification of a study of one data set


def workflow_bytes(study: Study) -> int:
    """Return about how many bytes Argo keeps of the study's workflow when all of its steps have run."""
    text = len(study.model_dump_json(exclude={"cluster"})) * (COPIES_OF_THE_STUDY + len(study.datasets) - 1)
    return round(PIPELINE_BYTES + DATASET_BYTES * len(study.datasets) + CELL_BYTES * len(study.cells) + text)


def refuse_too_large(study: Study) -> None:
    """Raise StudyError where one workflow cannot hold the study."""
    if (excess := too_large(study)) is not None:
        raise StudyError(excess)


def too_large(study: Study) -> str | None:
    """Return a sentence where one workflow cannot hold the study; None where it can."""
    needed = workflow_bytes(study)
    if needed <= LARGEST_BYTES:
        return None
    return (
        f"The study has {len(study.datasets)} data sets × {len(study.methods)} methods = {len(study.cells)} cells, whose workflow"
        f" would grow to about {needed / ARGO_BYTES:.1f} MiB; Argo ends a workflow at 1 MiB. Give the data sets to several"
        " studies, or take fewer methods. Seeds may be as many as you like: they add no cells."
    )
