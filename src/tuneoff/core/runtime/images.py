"""The container image that a step runs in on a cluster: its name, and the reference by which a registry knows it.

Nothing is installed at run time: `docker/Containerfile` has a target for every image that is named here.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._version import __version__
from ..cluster_settings import Images, Step

MAIN = "main"
"""The environment of all methods whose frameworks go together; the others each have a requirements-NAME.lock."""

PREFIX = "tuneoff"
"""Before the images' names where a study names no registry."""


def image_name(step: Step, environment: str = MAIN, gpu: bool = False) -> str:
    """`data_prep`, `reporter`, `evaluator`, `tuner`, `tuner-torch`, `tuner-gpu`: only what trains differs by device.

    The evaluator trains with Keras alone, so that it has no environments. A system's model is opened by its own framework: give
    `tuner` for the evaluation of a system.
    """
    if step not in ("tuner", "evaluator"):
        return step
    apart = [environment] if step == "tuner" and environment != MAIN else []
    return "-".join([step, *apart, *(["gpu"] if gpu else [])])


def image(
    step: Step,
    environment: str = MAIN,
    gpu: bool = False,
    prefix: str = PREFIX,
    tag: str = __version__,
    digests: Mapping[str, str] = {},
) -> str:
    """`PREFIX/tuner-torch:TAG`, or `PREFIX/tuner-torch@sha256:…` where `digests` has one for the image's name."""
    name = image_name(step, environment, gpu)
    return f"{prefix}/{name}@{digests[name]}" if name in digests else f"{prefix}/{name}:{tag}"


def image_in(images: Images, step: Step, environment: str = MAIN, gpu: bool = False) -> str:
    """The same where a study says which images its cluster takes: a whole reference in `names` goes before the prefix."""
    named = images.names.get(image_name(step, environment, gpu))
    return named or image(step, environment, gpu, images.prefix, images.tag or __version__, images.digests)
