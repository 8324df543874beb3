"""Read Experiments and Trials from files that kubectl has written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import StudyError, first_line

MAX_BYTES = 100_000_000
"""Maximum size of an exported file."""


@dataclass
class Found:
    """Katib's experiments and trials, the trials' logs (each keyed by name), and Katib's version."""

    where: str
    experiments: dict[str, Any] = field(default_factory=dict)
    trials: dict[str, Any] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    version: str | None = None


# From exported files


def exported(folder: Path) -> Found:
    """Read exported results from a folder: objects written by `kubectl get … -o yaml` (or json), and logs named TRIAL.log."""
    if not folder.is_dir():
        raise StudyError(
            f"--from {str(folder)!r} is not a folder. Give a folder with the output of `kubectl get experiments,trials -o yaml`."
        )
    found = Found(str(folder))
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        if file.suffix == ".log":
            found.logs[file.stem] = file.read_text(encoding="utf-8", errors="replace")
        elif file.suffix in (".yaml", ".yml", ".json"):
            for entry in _documents(file):
                sort_in(found, entry, str(file))
    return found


class _NoAliases(yaml.SafeLoader):
    """A loader that refuses aliases, which could expand to huge documents. kubectl writes none."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)


def _documents(file: Path) -> Iterator[dict[str, Any]]:
    """Yield every object in a file, including the items of lists. Raise StudyError if the file cannot be read."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise StudyError(f"{file} is larger than {MAX_BYTES:,} bytes, the limit. Export fewer objects per file.")
        text = file.read_text(encoding="utf-8")
        read = [json.loads(text)] if file.suffix == ".json" else list(yaml.load_all(text, _NoAliases))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise StudyError(f"{file} cannot be read ({first_line(error)}). Give a file that kubectl wrote.") from None
    for entry in read:
        if isinstance(entry, dict):
            yield from (e for e in entry.get("items", [entry]) if isinstance(e, dict))


def sort_in(found: Found, entry: Mapping[str, Any], where: str) -> None:
    """Add an object to `found`. Other kinds are skipped, except for the Deployment of Katib's controller: it has the version."""
    from kubeflow_katib_api import models
    from pydantic import ValidationError

    kind = entry.get("kind")
    try:
        if kind == "Experiment":
            experiment = models.V1beta1Experiment.from_dict(dict(entry))
            found.experiments[_name(experiment)] = experiment
        elif kind == "Trial":
            trial = models.V1beta1Trial.from_dict(dict(entry))
            found.trials[_name(trial)] = trial
        elif kind == "Deployment":
            found.version = version(entry) or found.version
    except (ValidationError, LookupError, AttributeError) as error:
        fault = error.errors()[0] if isinstance(error, ValidationError) else {"loc": ("metadata",), "msg": "it has no name"}
        field_path = ".".join(str(p) for p in fault["loc"])
        raise StudyError(f"{where}: this {kind} is not valid in Katib: {field_path}: {fault['msg']}.") from None


def _name(thing: Any) -> str:
    """Return the object's name. Raise LookupError if it has none."""
    if not thing.metadata or not thing.metadata.name:
        raise LookupError
    return str(thing.metadata.name)


def version(deployment: Mapping[str, Any]) -> str | None:
    """Return Katib's version, from the tag of its controller's image."""
    with suppress(KeyError, IndexError, TypeError):
        if deployment["metadata"]["name"] == "katib-controller":
            image = str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])
            return image.rpartition("/")[2].partition(":")[2] or None
    return None
