"""Copy data sets into a study's store, where pods without internet access read them, and check which can be copied."""

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
    """Return whether pods need a copy of the data set: true for built-in data sets and for files on this machine."""
    if not objective_of(study).needs_prepared_data:
        return False
    return dataset.path is None or not study.cluster.reaches(dataset.path)


def send_inputs(study: Study, store: Store, note: Note) -> None:
    """Copy the study's data sets into its store. Copies that exist already are not sent again.

    A built-in data set is first downloaded to this machine. If the download fails, the pods will try it themselves, and
    `note` receives a message.

    Raises:
        StudyError: A local file cannot be read, or differs from the copy that the study's data was prepared from.
    """
    for dataset in study.datasets:
        if not to_be_copied(study, dataset):
            continue
        if dataset.path is None:
            _send_built_in(store, dataset, note)
        else:
            _send(store, dataset, local_file(dataset), note)


def local_file(dataset: Dataset) -> Path:
    """Return the data set's file on this machine. Raise StudyError if it does not exist."""
    file = Path(str(dataset.path)).expanduser()
    if not file.is_file():
        raise StudyError(f"The file {dataset.path!r} of data set {dataset.name!r} does not exist. Correct the path.")
    return file


def _send_built_in(store: Store, dataset: Dataset, note: Note) -> None:
    if read_input(store, dataset.name) is not None:  # the pods check the arrays of a built-in copy against pinned checksums
        return
    try:
        file = fetch(dataset.name, lambda line: None)
    except DataError as error:
        note(f"Note: {dataset.name} could not be copied into the store, so the pods must download it themselves. {error}")
        return
    _send(store, dataset, file, note)


def _send(store: Store, dataset: Dataset, file: Path, note: Note) -> None:
    sent = put_input(store, dataset, file)
    if sent is not None:
        note(f"Copied {dataset.name} to {store.uri}/inputs ({sent.bytes / 1e6:.1f} MB). The pods read it from there.")


def look_at_inputs(study: Study, store: Store | None) -> Iterator[Finding]:
    """Yield a finding for each data set: how the pods get it. `store` is None if this machine cannot write to it."""
    for dataset in study.datasets:
        if not objective_of(study).needs_prepared_data:
            return
        if not to_be_copied(study, dataset):
            yield _out_there(dataset)
        elif dataset.path is None and (folder := study.cluster.env.get("TUNEOFF_CACHE")):
            yield Finding("data", State.OK, f"{dataset.name}: the pods first look in {folder} (TUNEOFF_CACHE)")
        elif store is None:
            yield _without_a_store(dataset)
        else:
            yield _in_the_store(dataset, store)


def _out_there(dataset: Dataset) -> Finding:
    """Check whether a data set that is not copied exists at its path, if this machine can read the path."""
    path = str(dataset.path)
    if not path.startswith("s3://"):
        return Finding("data", State.OK, f"{dataset.name} is on the volume, at {path}: cannot be checked from this machine")
    bucket, _, key = path.removeprefix("s3://").partition("/")
    try:
        exists = key in open_store(f"s3://{bucket}").names(key)
    except StudyError as error:
        return Finding("data", State.WARNING, f"{dataset.name}: {path} was not checked: {str(error).rstrip('.')}")
    if not exists:
        return Finding("data", State.FAILING, f"{dataset.name}: {path} does not exist", "upload it, or correct the path")
    return Finding("data", State.OK, f"{dataset.name} is at {path}")


def _without_a_store(dataset: Dataset) -> Finding:
    if dataset.path is not None:
        said = f"{dataset.name}: {dataset.path!r} is on this machine, which cannot write to the store"
        return Finding("data", State.FAILING, said, "copy it to the volume (docs/images.md), or set artifacts to an s3:// URI")
    said = f"{dataset.name}: the pods download it themselves, because this machine cannot write to the store"
    remedy = "if they have no internet, put it on the volume and set cluster.env.TUNEOFF_CACHE (docs/images.md)"
    return Finding("data", State.WARNING, said, remedy)


def _in_the_store(dataset: Dataset, store: Store) -> Finding:
    if dataset.path is not None:
        try:
            file = local_file(dataset)
        except StudyError as error:
            return Finding("data", State.FAILING, str(error).rstrip("."))
        return Finding("data", State.OK, f"{dataset.name}: submit will copy {dataset.path} ({file.stat().st_size / 1e6:.1f} MB)")
    if read_input(store, dataset.name) is not None:
        return Finding("data", State.OK, f"{dataset.name} is in the store")
    if cache_path(dataset.name).exists():
        return Finding("data", State.OK, f"{dataset.name}: submit will copy it into the store")
    said = f"{dataset.name} is neither in the store nor on this machine: submit, or else each pod, must download it"
    return Finding(
        "data", State.WARNING, said, f"run `tuneoff data fetch {dataset.name}` first to check that it can be downloaded"
    )
