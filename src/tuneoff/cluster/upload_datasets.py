"""Data sets that `submit` copies into a study's store, from where pods without a network take them; and which it cannot copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.errors import DataError, StudyError
from ..core.finding import Finding, State
from ..core.store.dataset_copies import put_input, read_input
from ..core.store.open import open_store
from ..core.store.protocol import Store
from ..core.study import Dataset, Study
from ..data.fetch import cache_path, fetch
from ..objectives import objective_of

Note = Callable[[str], None]


def to_be_copied(study: Study, dataset: Dataset) -> bool:
    """Return whether pods need a copy of the data set: a built-in one, or a file of this machine."""
    if not objective_of(study).needs_prepared_data:
        return False
    return dataset.path is None or not study.cluster.reaches(dataset.path)


def send_inputs(study: Study, store: Store, note: Note) -> None:
    """Copy the study's data sets into its store; what is there already is not sent again.

    A built-in data set is fetched here first. If it cannot be, the pods will try, and `note` hears so.

    Raises:
        StudyError: A file of this machine cannot be read, or differs from the copy that the study has been prepared from.
    """
    for dataset in study.datasets:
        if not to_be_copied(study, dataset):
            continue
        if dataset.path is None:
            _send_built_in(store, dataset, note)
        else:
            _send(store, dataset, local_file(dataset), note)


def local_file(dataset: Dataset) -> Path:
    """Return the data set's file on this machine; StudyError where there is none."""
    file = Path(str(dataset.path)).expanduser()
    if not file.is_file():
        raise StudyError(f"The data set {dataset.name!r} has path {dataset.path!r}, and there is no such file: correct the path.")
    return file


def _send_built_in(store: Store, dataset: Dataset, note: Note) -> None:
    if read_input(store, dataset.name) is not None:  # the pods check a built-in copy's arrays against the pinned sums
        return
    try:
        file = fetch(dataset.name, lambda line: None)
    except DataError as error:
        note(f"Note: {dataset.name} cannot be copied into the store, so that the pods have to fetch it themselves. {error}")
        return
    _send(store, dataset, file, note)


def _send(store: Store, dataset: Dataset, file: Path, note: Note) -> None:
    sent = put_input(store, dataset, file)
    if sent is not None:
        note(f"Copied {dataset.name} into {store.uri}/inputs ({sent.bytes / 1e6:.1f} MB): the pods take it from there.")


def look_at_inputs(study: Study, store: Store | None) -> Iterator[Finding]:
    """Say of each data set how the pods come by it. `store` is None where it cannot be written from here."""
    for dataset in study.datasets:
        if not objective_of(study).needs_prepared_data:
            return
        if not to_be_copied(study, dataset):
            yield _out_there(dataset)
        elif dataset.path is None and (folder := study.cluster.env.get("TUNEOFF_CACHE")):
            yield Finding("data", State.OK, f"{dataset.name}: the pods look for it in {folder} first (TUNEOFF_CACHE)")
        elif store is None:
            yield _without_a_store(dataset)
        else:
            yield _in_the_store(dataset, store)


def _out_there(dataset: Dataset) -> Finding:
    """Whether a data set that is not copied is where the study says, as far as this machine can see."""
    path = str(dataset.path)
    if not path.startswith("s3://"):
        return Finding("data", State.OK, f"{dataset.name} lies on the volume, at {path}: not looked at from here")
    bucket, _, key = path.removeprefix("s3://").partition("/")
    try:
        there = key in open_store(f"s3://{bucket}").names(key)
    except StudyError as error:
        return Finding("data", State.WARNING, f"{dataset.name}: {path} was not looked at: {str(error).rstrip('.')}")
    if not there:
        return Finding("data", State.FAILING, f"{dataset.name}: there is no {path}", "put it there, or correct the path")
    return Finding("data", State.OK, f"{dataset.name} is at {path}")


def _without_a_store(dataset: Dataset) -> Finding:
    if dataset.path is not None:
        said = f"{dataset.name}: {dataset.path!r} lies on this machine, and the store cannot be written from here"
        return Finding("data", State.FAILING, said, "copy it to the volume (docs/images.md), or give artifacts an s3:// URI")
    said = f"{dataset.name}: the pods fetch it themselves, since the store cannot be written from here"
    remedy = "without internet there, put it on the volume and set cluster.env.TUNEOFF_CACHE (docs/images.md)"
    return Finding("data", State.WARNING, said, remedy)


def _in_the_store(dataset: Dataset, store: Store) -> Finding:
    if dataset.path is not None:
        try:
            file = local_file(dataset)
        except StudyError as error:
            return Finding("data", State.FAILING, str(error).rstrip("."))
        return Finding("data", State.OK, f"{dataset.name}: submit copies {dataset.path} ({file.stat().st_size / 1e6:.1f} MB)")
    if read_input(store, dataset.name) is not None:
        return Finding("data", State.OK, f"{dataset.name} is in the store")
    if cache_path(dataset.name).exists():
        return Finding("data", State.OK, f"{dataset.name}: submit copies it into the store")
    said = f"{dataset.name} is neither in the store nor on this machine: submit fetches it, or else the pods do"
    return Finding("data", State.WARNING, said, f"run `tuneoff data fetch {dataset.name}` first to see that it can be had")
