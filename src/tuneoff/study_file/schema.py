"""The JSON schema of study files, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from ..core.study import Study
from ..methods.registry import REGISTRY, SHORT
from ..methods.user_method import PATTERN as OWN_METHOD


def schema() -> dict[str, Any]:
    """Return the JSON schema of a study file, for editors."""
    found = TypeAdapter(Study).json_schema()
    found["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    found["title"] = "Tuneoff study"
    shipped = [*SHORT, *REGISTRY]
    dataset, method = found["$defs"]["Dataset"], found["$defs"]["MethodChoice"]
    dataset["required"], method["required"] = [], ["name"]
    found["required"].remove("datasets")  # a table study takes it from the table
    text = {"type": "string"}
    found["properties"]["objective"] = {"anyOf": [text, {"$ref": "#/$defs/ObjectiveSettings"}], "default": {}}
    found["$defs"]["ObjectiveSettings"]["properties"]["table"]["anyOf"].insert(0, text)
    method["properties"]["name"] |= {"anyOf": [{"enum": shipped}, {"pattern": OWN_METHOD}]}
    for section, model in (("datasets", "Dataset"), ("methods", "MethodChoice")):
        whole = {"$ref": f"#/$defs/{model}"}
        choices: dict[str, Any] = {"type": "string"} if section == "datasets" else {"enum": shipped}
        more = [{"type": "string", "pattern": OWN_METHOD}] if section == "methods" else []
        found["properties"][section]["items"] = {"anyOf": [choices, *more, whole]}
    return found
