"""Writes docs/methods.md from the registry, the lock file and docs/methods.template; `make methods-doc` runs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tuneoff.contract.checks import FALSE_ALARM, is_no_worse_than_random_search
from tuneoff.contract.known_failures import KNOWN, NO_CLAIM
from tuneoff.methods.registry import REGISTRY, SHORT
from tuneoff.methods.spec import FailedRule, MethodSpec

HERE = Path(__file__).parent
FAILED = {
    FailedRule.TOLD: "hears of failed trials as they are",
    FailedRule.PENALTY: "is told the worst loss so far for a failed trial",
    FailedRule.UNTOLD: "does not hear of failed trials",
}


def page() -> str:
    """The page's text."""
    sections = "\n\n".join(section(spec) for spec in REGISTRY.values())
    text = (HERE / "methods.template").read_text(encoding="utf-8")
    return text.replace("@methods@", sections).replace("@exceptions@", exceptions()).replace("@alarm@", f"{FALSE_ALARM:.0%}")


def exceptions() -> str:
    """A table of what methods are known not to keep of the contract, and are not put to."""
    found = [(method, check.replace("_", " "), reason) for (method, check), reason in KNOWN.items()]
    claim = f"{is_no_worse_than_random_search.__name__.replace('_', ' ')} (it claims nothing)"
    found += [(method, claim, reason) for method, reason in NO_CLAIM.items()]
    rows = [f"| `{method}` | {promise} | {reason} |" for method, promise, reason in found]
    return "\n".join(["| method | promise | why not |", "|---|---|---|", *rows])


def section(spec: MethodSpec) -> str:
    short = [f"`{name}`" for name, full in SHORT.items() if full == spec.name]
    also = f" Also called {', '.join(short)}." if short else ""
    system = spec.kind == "system"
    repeatable = "always" if spec.determinism == "exact" else spec.determinism.value
    lines = [
        f"## {spec.name}",
        "",
        f"{spec.summary}{also}",
        "",
        f"- **When:** {spec.when}",
        f"- **Source:** {spec.source}",
        f"- **Framework:** {spec.framework} {locked(spec)}; `pip install 'tuneoff[{spec.extra}]'`",
        f"- **Can:** {'; '.join(abilities(spec))}",
        f"- **Repeatable:** {'no: its time is a matter of the clock' if system else repeatable}",
        "",
        *settings(spec),
    ]
    return "\n".join(lines).rstrip()


def abilities(spec: MethodSpec) -> list[str]:
    if spec.kind == "system":
        return ["train models of its own; compared by seconds and test score alone; needs `budget.seconds`"]
    told = {
        "trains some configurations for less than the full epochs": spec.fidelity,
        "continues trials from their weights": spec.warm_start,
        "stops trials early": spec.stop_rule,
        "several trials at a time": spec.parallel,
        "no conditional spaces": not spec.conditional,
        "no logarithmic scales": not spec.log,
        "no steps": not spec.step,
    }
    return [*(what for what, holds in told.items() if holds), FAILED[spec.failed]]


def locked(spec: MethodSpec) -> str:
    """The framework's version in the lock file."""
    name = "" if spec.environment == "main" else f"-{spec.environment}"
    lock = HERE.parent / f"requirements{name}.lock"
    found = re.search(rf"^{re.escape(spec.framework)}==(\S+)", lock.read_text(encoding="utf-8"), re.M) if lock.exists() else None
    return found[1] if found else "(of its own environment)"


def settings(spec: MethodSpec) -> list[str]:
    """A table of the method's settings."""
    schema = spec.settings_model().model_json_schema()
    fields: dict[str, dict[str, Any]] = schema.get("properties", {})
    if not fields:
        return ["Nothing can be set."]
    rows = [f"| `{name}` | `{shown(field)}` | {said(field)} |" for name, field in fields.items()]
    return ["| setting | default | what it is |", "|---|---|---|", *rows]


def shown(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return str(default)


def said(field: dict[str, Any]) -> str:
    choices = f"One of {', '.join(map(str, field['enum']))}." if "enum" in field else ""
    return " ".join(filter(None, (field.get("description", ""), choices))).replace("|", "\\|") or "as in the framework"


if __name__ == "__main__":
    (HERE / "methods.md").write_text(page(), encoding="utf-8")
