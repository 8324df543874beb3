"""Check whether the pods of a study can get their images, from the nodes or from a registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.finding import Finding, State
from ..core.study import Step, Study
from .registry_check import Presence, Reference, Registries

MOST_LISTED = 50
"""By default, a node lists at most this many of its images, largest first (a setting of the kubelet)."""


@dataclass(frozen=True)
class NodeImages:
    """Full names of the images that a node lists, and whether the list may be incomplete (`cut`)."""

    names: frozenset[str]
    cut: bool

    @classmethod
    def of(cls, node: Any) -> NodeImages:
        """Read the images from a node object of Kubernetes' client."""
        images = node.status.images or []
        names = {str(Reference.of(name)) for image in images for name in image.names or []}
        return cls(frozenset(names), len(images) >= MOST_LISTED)


def image_findings(study: Study, nodes: Mapping[Step, Mapping[int, NodeImages]] | None) -> Iterator[Finding]:
    """Yield a finding for each distinct image of the study's steps.

    Args:
        study: The study.
        nodes: For each step, the nodes that can run its pods, keyed by node number; None if the nodes could not be read.
    """
    from .step_images import image_of

    steps: dict[str, list[Step]] = {}
    for step in ("data_prep", "tuner", "evaluator", "reporter"):
        steps.setdefault(image_of(study, step), []).append(step)
    registries = Registries()
    for image, of in steps.items():
        taking = None if nodes is None else {number: node for step in of for number, node in nodes.get(step, {}).items()}
        yield _finding(study, image, taking, registries)


def _finding(study: Study, image: str, nodes: Mapping[int, NodeImages] | None, registries: Registries) -> Finding:
    reference, policy = Reference.of(image), study.cluster.images.pull_policy
    having = sum(str(reference) in node.names for node in (nodes or {}).values())
    on_all = bool(nodes) and having == len(nodes or {})
    if policy == "Never":
        return _never_pulled(image, nodes, having)
    pulled = policy == "Always" or (policy is None and reference.version == "latest")
    if on_all and not pulled:
        return Finding("image", State.OK, f"{image} is on the nodes")
    presence, why = registries.look(reference)
    if presence is Presence.THERE:
        return Finding("image", State.OK, f"{image} is in its registry")
    where = f" (it is on {having} of {len(nodes)} nodes)" if nodes else " (the nodes were not checked)" if nodes is None else ""
    if presence is Presence.MISSING:
        return Finding("image", State.FAILING, f"the registry has no image {image}{where}", _remedy(study, image))
    remedy = "make sure that the nodes can pull it; if it needs a login, set cluster.images.pull_secrets"
    return Finding("image", State.WARNING, f"{image} was not checked: {why}{where}", remedy)


def _never_pulled(image: str, nodes: Mapping[int, NodeImages] | None, having: int) -> Finding:
    """Return the finding for an image that the nodes must have already (pull_policy: Never)."""
    remedy = "load it into every node, or let the nodes pull it (cluster.images.pull_policy)"
    if not nodes:
        why = "the nodes could not be read" if nodes is None else "no node can run its step"
        return Finding("image", State.WARNING, f"{image} was not checked: {why}", remedy)
    if having == len(nodes):
        return Finding("image", State.OK, f"{image} is on the nodes")
    if any(node.cut for node in nodes.values()):
        said = f"{image} is listed by {having} of {len(nodes)} nodes, and a node lists only its {MOST_LISTED} largest images"
        return Finding("image", State.WARNING, said, remedy)
    said = f"{image} is on {having} of {len(nodes)} nodes, and pull_policy is Never"
    return Finding("image", State.WARNING if having else State.FAILING, said, remedy)


def _remedy(study: Study, image: str) -> str:
    images = study.cluster.images
    if image in images.names.values():
        return "build and push it, or set another image in cluster.images.names"
    name = image.removeprefix(f"{images.prefix}/").partition("@")[0].partition(":")[0]
    return f"build it with `make images PREFIX={images.prefix} IMAGES={name}` and push it, or set another in cluster.images"
