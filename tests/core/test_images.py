"""Names and references of the images of the steps."""

from __future__ import annotations

import pytest

from tuneoff.core.cluster_settings import Images
from tuneoff.core.runtime.images import image, image_in, image_name
from tuneoff.core.study import Step


@pytest.mark.parametrize(
    ("step", "environment", "gpu", "name"),
    [
        ("data_prep", "main", False, "data_prep"),
        ("data_prep", "torch", True, "data_prep"),
        ("reporter", "vizier", True, "reporter"),
        ("evaluator", "main", False, "evaluator"),
        ("evaluator", "torch", False, "evaluator"),
        ("evaluator", "torch", True, "evaluator-gpu"),
        ("tuner", "main", False, "tuner"),
        ("tuner", "main", True, "tuner-gpu"),
        ("tuner", "neps", False, "tuner-neps"),
        ("tuner", "neps", True, "tuner-neps-gpu"),
    ],
)
def test_only_training_steps_differ_by_device_and_only_the_tuner_by_environment(
    step: Step, environment: str, gpu: bool, name: str
) -> None:
    assert image_name(step, environment, gpu) == name


def test_a_registry_goes_before_the_name_and_a_tag_behind_it() -> None:
    assert image("tuner", "torch", prefix="registry.example.org:5000/team", tag="2.1.0") == (
        "registry.example.org:5000/team/tuner-torch:2.1.0"
    )


def test_a_digest_replaces_the_tag_of_its_image() -> None:
    digests = {"tuner": "sha256:" + "0" * 64}
    assert image("tuner", prefix="p", tag="1", digests=digests) == "p/tuner@sha256:" + "0" * 64
    assert image("tuner", "torch", prefix="p", tag="1", digests=digests) == "p/tuner-torch:1"


def test_a_single_image_may_have_its_own_name_and_the_others_keep_the_prefix() -> None:
    images = Images(prefix="team", tag="1", names={"tuner": "registry.example.org/mine/search:7"})
    assert image_in(images, "tuner") == "registry.example.org/mine/search:7"
    assert image_in(images, "tuner", "torch") == "team/tuner-torch:1"
    assert image_in(images, "evaluator") == "team/evaluator:1"


def test_an_image_is_not_named_twice_nor_without_tag_or_digest() -> None:
    digest = "sha256:" + "0" * 64
    assert Images(names={"tuner": f"mine/search@{digest}"})
    with pytest.raises(ValueError, match="tuner is in names and in digests: write the digest into names"):
        Images(names={"tuner": "mine/search:1"}, digests={"tuner": digest})
    with pytest.raises(ValueError, match="String should match pattern"):
        Images(names={"tuner": "mine/search"})
