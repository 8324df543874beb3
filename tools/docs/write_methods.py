"""Write docs/methods.md from the registry, the lock files and methods.template: `make methods-doc`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tuneoff.contract.checks import FALSE_ALARM, is_no_worse_than_random_search
from tuneoff.contract.known_failures import KNOWN, NO_CLAIM
from tuneoff.methods.registry import REGISTRY, SHORT
from tuneoff.methods.spec import FailedRule, MethodSpec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAILED = {
    FailedRule.TOLD: "receives failed trials unchanged",
    FailedRule.PENALTY: "receives the worst loss so far for a failed trial",
    FailedRule.UNTOLD: "does not receive failed trials",
}


def page() -> str:
    """Return the text of the page."""
    sections = "\n\n".join(section(spec) for spec in REGISTRY.values())
    text = (HERE / "methods.template").read_text(encoding="utf-8")
    return text.replace("@methods@", sections).replace("@exceptions@", exceptions()).replace("@alarm@", f"{FALSE_ALARM:.0%}")


def exceptions() -> str:
    """Return a table of the known exceptions from the contract, one row per method and check."""
    failures = [(method, check.replace("_", " "), reason) for (method, check), reason in KNOWN.items()]
    claim = f"{is_no_worse_than_random_search.__name__.replace('_', ' ')} (the method does not claim it)"
    failures += [(method, claim, reason) for method, reason in NO_CLAIM.items()]
    rows = [f"| `{method}` | {check} | {reason} |" for method, check, reason in failures]
    return "\n".join(["| method | check | reason |", "|---|---|---|", *rows])


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
        f"- **Abilities:** {'; '.join(abilities(spec))}",
        f"- **Repeatable:** {'no: its result depends on the wall clock' if system else repeatable}",
        "",
        *settings(spec),
    ]
    return "\n".join(lines).rstrip()


def abilities(spec: MethodSpec) -> list[str]:
    if spec.kind == "system":
        return ["trains its own models; compared only by seconds and test score; needs `budget.seconds`"]
    declared = {
        "trains some configurations for fewer than the full epochs": spec.fidelity,
        "resumes trials from their weights": spec.warm_start,
        "stops trials early": spec.stop_rule,
        "several trials in flight": spec.parallel,
        "no conditional spaces": not spec.conditional,
        "no logarithmic scales": not spec.log,
        "no steps": not spec.step,
    }
    return [*(ability for ability, holds in declared.items() if holds), FAILED[spec.failed]]


def locked(spec: MethodSpec) -> str:
    """Return the framework's version in the lock file of the method's environment."""
    name = "" if spec.environment == "main" else f"-{spec.environment}"
    lock = ROOT / f"requirements{name}.lock"
    version = (
        re.search(rf"^{re.escape(spec.framework)}==(\S+)", lock.read_text(encoding="utf-8"), re.M) if lock.exists() else None
    )
    return version[1] if version else "(in its own environment)"


def settings(spec: MethodSpec) -> list[str]:
    """Return the lines of a table of the method's settings."""
    schema = spec.settings_model().model_json_schema()
    fields: dict[str, dict[str, Any]] = schema.get("properties", {})
    if not fields:
        return ["This method has no settings."]
    rows = [f"| `{name}` | `{shown(field)}` | {said(field)} |" for name, field in fields.items()]
    return ["| setting | default | meaning |", "|---|---|---|", *rows]


def shown(field: dict[str, Any]) -> str:
    default = field.get("default")
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return str(default)


def said(field: dict[str, Any]) -> str:
    choices = f"One of {', '.join(map(str, field['enum']))}." if "enum" in field else ""
    return " ".join(filter(None, (field.get("description", ""), choices))).replace("|", "\\|") or "as in the framework"


if __name__ == "__main__":
    (ROOT / "docs" / "methods.md").write_text(page(), encoding="utf-8")
