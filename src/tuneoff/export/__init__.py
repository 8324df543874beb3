"""Export a study's record for other programs: an Optuna storage, runs for DeepCAVE, CSV files, or figures for a paper."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..analysis.frames import csv, epochs_frame, trials_frame
from ..analysis.trial_rows import trial_rows
from ..core.errors import StudyError
from ..core.runtime.extras import missing
from ..core.store.study_store import StudyResult
from ..report.figure_files import FORMS, write_figures
from .deepcave import write_runs

Writer = Callable[[StudyResult, Path], None]
"""A function that writes a study to a path that does not exist yet."""


def write_csv(result: StudyResult, folder: Path) -> None:
    """Write a folder with trials.csv (one row per trial) and curves.csv (one row per epoch)."""
    folder.mkdir()
    (folder / "trials.csv").write_bytes(csv(trials_frame(trial_rows(result), result.study.space)))
    (folder / "curves.csv").write_bytes(csv(epochs_frame(result)))


def _write_storage(result: StudyResult, file: Path) -> None:
    if missing("export"):
        raise StudyError("--to optuna needs Optuna, which is not installed. Install it: pip install 'tuneoff[export]'.")
    from .optuna import write_storage

    write_storage(result, file)


WRITERS: Mapping[str, Writer] = {"optuna": _write_storage, "deepcave": write_runs, "csv": write_csv, "figures": write_figures}
"""The writers of all export formats, by the format's name."""
_ENDINGS = {"optuna": "-optuna.db", "deepcave": "-deepcave", "csv": "-csv", "figures": "-figures"}


def default_target(result: StudyResult, kind: str) -> Path:
    """Return the default path of an export: in the current folder, named after the study."""
    return Path(result.study.name + _ENDINGS[kind])


def export(result: StudyResult, kind: str, target: Path, form: str | None = None) -> None:
    """Write the study to `target`, completely or not at all.

    Args:
        result: The study's record.
        kind: The format of the export.
        target: The file or folder to write, which must not exist.
        form: The file format of the figures, by default pdf. Only for the kind "figures".

    Raises:
        StudyError: `target` exists, or `form` is given for another kind.
    """
    if form is not None and kind != "figures":
        raise StudyError(f"--format {form} is only for --to figures. Leave it out with --to {kind}.")
    write = partial(write_figures, form=form) if form in FORMS else WRITERS[kind]
    if target.exists() or target.is_symlink():
        raise StudyError(f"{target} exists already. Give another --out, or remove it first.")
    target.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=".tuneoff-", dir=target.parent))
    try:
        write(result, workplace / "export")
        os.rename(workplace / "export", target)
    finally:
        shutil.rmtree(workplace)
