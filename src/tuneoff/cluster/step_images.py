"""Choose the container image of each step of a study."""

from ..core.runtime.images import MAIN, image_in
from ..core.study import Step, Study
from ..methods.registry import REGISTRY, SHORT


def image_of(study: Study, step: Step) -> str:
    """Return the image that a step of this study runs in."""
    specs = [REGISTRY[name] for m in study.methods if (name := SHORT.get(m.name, m.name)) in REGISTRY]
    environment = next((spec.environment for spec in specs if spec.environment != MAIN), MAIN)
    own = any(spec.kind == "system" for spec in specs)  # a system's model can be loaded only by the system's own framework
    built = "tuner" if step == "evaluator" and own else step
    return image_in(study.cluster.images, built, environment, gpu=bool(study.resources.of(step).gpu))
