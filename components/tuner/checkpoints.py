"""The weights that later trials of a search may continue: in a scratch folder while they train, in the store to stay."""

from __future__ import annotations

from pathlib import Path

from ..core.problem import Checkpoint, TrainingFailed, Trial
from ..core.storage import Store


class NoCheckpoints:
    """Of a method that continues no trial."""

    def of(self, trial: Trial) -> Checkpoint | None:
        return None

    def keep(self, trial: Trial) -> None:
        pass

    def clear(self) -> None:
        pass


class StoredCheckpoints:
    """One immutable file a trial, owned by its id; all are deleted when the search is over."""

    def __init__(self, store: Store, prefix: str, scratch: Path) -> None:
        self._store = store
        self._prefix = prefix
        self._scratch = scratch

    def of(self, trial: Trial) -> Checkpoint:
        parent = trial.proposal.parent
        return Checkpoint(None if parent is None else self._load(parent), trial.proposal.inherit, self._file(trial.id))

    def _load(self, parent: int) -> Path:
        file = self._file(parent)
        if not file.exists():
            try:
                self._store.get(self._name(parent), file)
            except FileNotFoundError:
                raise TrainingFailed(f"the checkpoint of its parent, trial {parent}, is missing") from None
        return file

    def keep(self, trial: Trial) -> None:
        self._store.put(self._file(trial.id), self._name(trial.id))

    def clear(self) -> None:
        for name in self._store.names(self._prefix):
            self._store.delete(name)

    def _file(self, trial: int) -> Path:
        return self._scratch / f"trial-{trial:04d}.npz"

    def _name(self, trial: int) -> str:
        return f"{self._prefix}trial-{trial:04d}.npz"
