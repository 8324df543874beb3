"""What KFP's launcher does on a cluster with a step's outputs, and no local runner does: it makes ML Metadata values of them.

The rules are those of KFP 2.17, backend/src/v2/metadata/converter.go, `StructValueToMLMDValue` and `toMLMDArtifact`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2


class Refused(Exception):
    """The launcher would fail the step."""


def converted(value: struct_pb2.Value) -> Any:
    """Return what ML Metadata stores for a protobuf value; Refused where the launcher knows no such kind."""
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "number_value":
            return float(value.number_value)
        case "bool_value":
            return int(value.bool_value)
        case "list_value" | "struct_value":
            return json_format.MessageToDict(value)
        case kind:
            raise Refused(f"unknown/unsupported value type {kind}")


def outputs_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the metadata of all artifacts that the steps of a local run left in `folder`, by `step/artifact`, converted.

    Raises:
        Refused: The launcher would fail a step for it: a null at the top level, or a number that JSON does not have.
    """
    found: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("kfp/**/executor_output.json")):
        output = json.loads(file.read_text(), parse_constant=_not_json)
        for name, value in output.get("parameterValues", {}).items():
            converted(json_format.ParseDict(value, struct_pb2.Value()))
            found[f"{file.parent.name}/{name}"] = {"value": value}
        for name, listed in output.get("artifacts", {}).items():
            for artifact in listed["artifacts"]:
                fields = json_format.ParseDict(artifact.get("metadata", {}), struct_pb2.Struct()).fields
                found[f"{file.parent.name}/{name}"] = {key: _named(file, name, key, value) for key, value in fields.items()}
    return found


def _named(file: Path, artifact: str, key: str, value: struct_pb2.Value) -> Any:
    try:
        return converted(value)
    except Refused as error:
        raise Refused(f"{file.parent.name}: output {artifact!r}, metadata {key!r}: {error}") from None


def _not_json(constant: str) -> Any:
    raise Refused(f"{constant} is not JSON")
