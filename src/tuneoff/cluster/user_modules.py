"""Check user modules (a model or a method) that a study names: on a cluster, the images of the steps must contain them."""

from __future__ import annotations

from collections.abc import Iterator

from ..core.cluster_settings import Images
from ..core.finding import Finding, State
from ..core.runtime.extras import EXTRAS
from ..core.study import Step, Study
from ..methods.registry import REGISTRY, SHORT
from ..methods.user_method import is_own, registered
from ..objectives import objective_of

IN_IMAGES = {"tuneoff", *(package for packages in EXTRAS.values() for package in packages)}
"""Top-level packages that the stock images may contain."""


def module_findings(study: Study) -> list[Finding]:
    """Return a finding for each user module: FAILING if a stock image would run it, else a warning."""
    return [_finding(study, what, module, steps) for what, module, steps in _modules(study)]


def own_code_notes(study: Study) -> list[str]:
    """Return the findings of `module_findings` as sentences, for `submit` to print."""
    return [f"{_capital(f.said)}: {f.remedy}." for f in module_findings(study)]


def _modules(study: Study) -> Iterator[tuple[str, str, tuple[Step, ...]]]:
    """Yield for each user module a description of its owner, its name, and the steps that import it."""
    trains = any(method.name not in REGISTRY or REGISTRY[method.name].kind != "system" for method in study.methods)
    for module in objective_of(study).user_modules(study) if trains else []:
        if not _shipped(module):
            yield "the model's module", module, ("tuner", "evaluator")
    targets = {m.name: m.name if is_own(m.name) else registered().get(m.name, "") for m in study.methods}
    for name, target in targets.items():
        module = target.partition(":")[0]
        if SHORT.get(name, name) not in REGISTRY and module and not _shipped(module):
            yield f"the module of method {name}", module, ("tuner",)


def _shipped(module: str) -> bool:
    return module.partition(".")[0] in IN_IMAGES


def _finding(study: Study, what: str, module: str, steps: tuple[Step, ...]) -> Finding:
    from .step_images import image_of

    named = dict.fromkeys(image_of(study, step) for step in steps)
    stock_study = study.model_copy(update={"cluster": study.cluster.model_copy(update={"images": Images()})})
    stock = [image for image in named if image in {image_of(stock_study, step) for step in steps}]
    if stock:
        said = f"{what} {module!r} is not in the image{_s(stock)} {' and '.join(stock)}"
        remedy = "add it in an image layer (docs/images.md), and set your image in cluster.images"
        return Finding("user code", State.FAILING, said, remedy)
    said = f"{what} {module!r} must be in the image{_s(list(named))} {' and '.join(named)}, which this machine cannot check"
    return Finding("user code", State.WARNING, said, "make sure that a layer of your image adds it (docs/images.md)")


def _s(images: list[str]) -> str:
    return "s" if len(images) > 1 else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
