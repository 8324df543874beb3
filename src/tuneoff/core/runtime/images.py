"""Names and registry references of the container images in which the steps run on a cluster.

Nothing is installed at run time: `docker/Containerfile` has a target for every image named here.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..._version import __version__
from ..cluster_settings import Images, Step

MAIN = "main"
"""The environment of all methods whose frameworks are compatible. Each other environment has a requirements-NAME.lock."""

PREFIX = "tuneoff"
"""The prefix of image names if a study names no registry."""


def image_name(step: Step, environment: str = MAIN, gpu: bool = False) -> str:
    """Return the name of a step's image, such as `data_prep`, `evaluator-gpu`, `tuner` or `tuner-torch-gpu`.

    Only steps that train have a GPU image. The evaluator trains with Keras only, so it has no environments. The model of a
    system needs the system's framework: pass `tuner` as the step for the evaluation of a system.
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
    """Return `PREFIX/tuner-torch:TAG`, or `PREFIX/tuner-torch@sha256:…` if `digests` has an entry for the image name."""
    name = image_name(step, environment, gpu)
    return f"{prefix}/{name}@{digests[name]}" if name in digests else f"{prefix}/{name}:{tag}"


def image_in(images: Images, step: Step, environment: str = MAIN, gpu: bool = False) -> str:
    """Return the image reference for the `cluster.images` of a study. A full reference in `names` overrides the prefix."""
    named = images.names.get(image_name(step, environment, gpu))
    return named or image(step, environment, gpu, images.prefix, images.tag or __version__, images.digests)
