"""The checkpoints that later trials of a search may resume: in a scratch folder during training, then in the store."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Set
from contextlib import suppress
from pathlib import Path

from ..core.problem import Checkpoint, Trial, TrialId
from ..core.store.protocol import Store


class NoCheckpoints:
    """Checkpoints for a method that never resumes a trial: none."""

    def of(self, trial: Trial) -> Checkpoint | None:
        return None

    def fault(self, trial: TrialId) -> str | None:
        return None

    def keep(self, trial: Trial) -> None:
        pass

    def keep_only(self, trials: Set[TrialId]) -> None:
        pass

    def clear(self) -> None:
        pass


class StoredCheckpoints:
    """One immutable file per trial, named by its id. It is deleted when no trial can resume it any more."""

    def __init__(self, store: Store, prefix: str, scratch: Path) -> None:
        self._store = store
        self._prefix = prefix
        self._scratch = scratch
        self._newest: TrialId = -1

    def of(self, trial: Trial) -> Checkpoint:
        self._newest = max(self._newest, trial.id)
        parent = trial.proposal.parent
        return Checkpoint(None if parent is None else self._file(parent), trial.proposal.inherit, self._file(trial.id))

    def fault(self, trial: TrialId) -> str | None:
        file = self._file(trial)
        if not file.exists():
            try:
                self._store.get(self._name(trial), file)
            except FileNotFoundError:
                return "is missing"
        try:
            with zipfile.ZipFile(file) as saved:
                damaged = saved.testzip()
        except zipfile.BadZipFile:
            damaged = file.name
        if damaged is None:
            return None
        file.unlink()
        return "is damaged"

    def keep(self, trial: Trial) -> None:
        self._store.put(self._file(trial.id), self._name(trial.id))

    def keep_only(self, trials: Set[TrialId]) -> None:
        """Delete other checkpoints, except those of newer trials, which belong to a process that took the search over."""
        kept = {self._name(trial) for trial in trials}
        self._delete(n for n in self._store.names(self._prefix) if n not in kept and self._trial(n) <= self._newest)

    def clear(self) -> None:
        self._delete(self._store.names(self._prefix))

    def _delete(self, names: Iterable[str]) -> None:
        for name in names:
            self._store.delete(name)
            with suppress(FileNotFoundError):
                (self._scratch / name.rpartition("/")[2]).unlink()

    def _file(self, trial: TrialId) -> Path:
        return self._scratch / f"trial-{trial:04d}.npz"

    def _trial(self, name: str) -> TrialId:
        return int(name.removeprefix(f"{self._prefix}trial-").removesuffix(".npz"))

    def _name(self, trial: TrialId) -> str:
        return f"{self._prefix}trial-{trial:04d}.npz"
