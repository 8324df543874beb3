"""The `cluster` section of a study: placement of pods, mounted volume, images and secrets."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .space import Model

Step = Literal["data_prep", "tuner", "evaluator", "reporter"]
KubeName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""A Kubernetes name, as of a namespace, a secret or a claim."""
LabelKey = Annotated[
    str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
SecretKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")]
MountPath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}){1,8}$")]
ImagePrefix = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]{0,198}[A-Za-z0-9]$")]
ImageName = Annotated[str, Field(pattern=r"^[a-z_]+(-[a-z]+){0,2}$")]
ImageTag = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]
ImageReference = Annotated[
    str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._:/-]{0,254}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$")
]
"""A full image reference: registry, name, and tag or digest."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Seconds = Annotated[int, Field(ge=1, le=2_147_483_647)]


class Toleration(Model):
    """A node taint that the pods tolerate."""

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(
        default=None, description="How long a pod stays on a node after the node gets such a taint with the effect NoExecute."
    )

    @model_validator(mode="after")
    def _as_kubernetes_takes_it(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("operator Exists allows no value: remove the value, or use operator Equal")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration without a key tolerates all taints: set operator: Exists, or give a key")
        if self.seconds is not None and self.effect != "NoExecute":
            raise ValueError("seconds are only allowed with the effect NoExecute: set effect: NoExecute, or remove seconds")
        return self


class Volume(Model):
    """A PersistentVolumeClaim that every step mounts, for the record, checkpoints, results and the user's data."""

    claim: KubeName
    mount: MountPath = Field(default="/tuneoff", description="The path at which the steps mount the volume.")

    def holds(self, path: str) -> bool:
        """Return whether the path is on the volume."""
        return path.startswith(self.mount + "/")


class Images(Model):
    """The images of the steps: PREFIX/NAME:TAG, PREFIX/NAME@DIGEST if a digest is given, or a full reference in `names`."""

    prefix: ImagePrefix = Field(default="tuneoff", description="The registry and the prefix of the image names.")
    tag: ImageTag | None = Field(default=None, description="The image tag; by default the version of tuneoff.")
    digests: dict[ImageName, Digest] = Field(default_factory=dict, description="Digests by image name, such as tuner-gpu.")
    names: dict[ImageName, ImageReference] = Field(
        default_factory=dict, description="Full references of single images, such as tuner: registry.example.org/mine:1."
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    pull_secrets: Annotated[list[KubeName], Field(max_length=20)] = []

    @model_validator(mode="after")
    def _named_once(self) -> Images:
        for name in self.names.keys() & self.digests.keys():
            raise ValueError(f"{name} is in names and in digests: write the digest into names, as IMAGE@sha256:…")
        return self


class Backoff(Model):
    """The wait before a failed step is retried: `seconds` the first time, then `factor` times the previous wait."""

    seconds: Annotated[int, Field(ge=0, le=86_400)] = 2
    factor: Annotated[float, Field(ge=1, le=10)] = 2.0
    longest_seconds: Seconds = 3600


class StepPlace(Model):
    """The placement and time limit of one step. Fields that are not set use the values for all steps."""

    node_selector: dict[LabelKey, LabelValue] | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=50)] | None = None
    timeout_seconds: Seconds | None = None


_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|ACCESS_KEY|API_KEY", re.IGNORECASE)


class Cluster(Model):
    """Settings that only a cluster uses. None of them changes a result."""

    namespace: KubeName | None = Field(default=None, description="The namespace of the pods; by default the one KFP uses.")
    service_account: KubeName | None = Field(
        default=None, description="The service account of the pods; by default the one KFP uses."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict, description="Labels that the nodes must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=50)] = []
    steps: dict[Step, StepPlace] = Field(default_factory=dict, description="Other placements for single steps.")
    volume: Volume | None = None
    env: dict[Variable, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, description="Environment variables of every step, such as AWS_ENDPOINT_URL."
    )
    secrets: dict[KubeName, dict[Variable, SecretKey]] = Field(
        default_factory=dict, description="Environment variables from Kubernetes secrets: secret: {VARIABLE: key}."
    )
    images: Images = Images()
    backoff: Backoff = Backoff()
    timeout_seconds: Seconds | None = Field(default=None, description="A step that takes longer is stopped and retried.")
    pending_seconds: Seconds = Field(
        default=900, description="With submit --wait, a run ends if one of its pods cannot start within this time."
    )
    deadline_seconds: Seconds | None = Field(default=None, description="A run that takes longer is stopped.")
    ttl_seconds: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(
        default=None,
        description="How long the pods of an ended run are kept. KFP 2.17 ignores this value and keeps them for an hour.",
    )
    run_as_non_root: bool = Field(default=True, description="Whether pods set runAsNonRoot; KFP before 2.17 does not support it.")

    @model_validator(mode="after")
    def _sound(self) -> Cluster:
        for name in self.env:
            if _SECRET.search(name):
                raise ValueError(
                    f"env.{name} looks like a secret, but everyone who can read the pipeline can read env: put it under secrets"
                )
        named = [*self.env, *(variable for variables in self.secrets.values() for variable in variables)]
        doubled = sorted(name for name, count in Counter(named).items() if count > 1)
        if doubled:
            raise ValueError(f"{doubled[0]} is set twice, in env and secrets or in two secrets: set it once")
        return self

    def reaches(self, path: str) -> bool:
        """Return whether the pods can read this path: an s3:// URI, or a path on their volume."""
        return path.startswith("s3://") or (self.volume is not None and self.volume.holds(path))

    def of(self, step: Step) -> StepPlace:
        """Return the placement of a step: its own settings, completed by the settings for all steps."""
        common = StepPlace(node_selector=self.node_selector, tolerations=self.tolerations, timeout_seconds=self.timeout_seconds)
        own = self.steps.get(step, StepPlace())
        return common.model_copy(update={k: v for k in StepPlace.model_fields if (v := getattr(own, k)) is not None})
