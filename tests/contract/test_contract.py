"""The method contract: every check that applies, for every method of the registry."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeGuard

import pytest

from tuneoff.contract.checks import CHECKS
from tuneoff.contract.harness import QUICK
from tuneoff.contract.known_failures import KNOWN, NO_CLAIM
from tuneoff.contract.runner import Result, Verdict, check_method, names_of
from tuneoff.core.runtime.extras import importable
from tuneoff.core.runtime.machine import cores
from tuneoff.methods.registry import REGISTRY, find
from tuneoff.methods.spec import MethodSpec

METHODS = [spec for spec in REGISTRY.values() if spec.environment == "main" or spec.installed]
"""Methods of other environments are checked if they are installed: `make check-methods`."""
CHECKED = [spec for spec in METHODS if not spec.process_per_search and not spec.slow]
"""`make check-methods` checks all methods. Checks of Ray's methods start Ray many times; tests/methods tests them by name."""

pytestmark = pytest.mark.timeout(1800)  # the first test of a method waits for all of its checks and for other methods


def results(spec: MethodSpec) -> dict[str, Result]:
    """Run all checks of a method in one process, and return the results by check."""
    entries = check_method(spec, {}, QUICK, whole=False)
    return {result.check: result for result in entries if isinstance(result, Result)}


@pytest.fixture(scope="module")
def checking(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[dict[str, Result]]]]:
    """Return the future results of all methods that the session tests. As many methods run in parallel as cores exist."""
    asked = dict.fromkeys(item.callspec.params["name"] for item in request.session.items if item_of_this(item))
    with ThreadPoolExecutor(cores()) as pool:
        yield {name: pool.submit(results, find(name)) for name in asked}


def item_of_this(item: pytest.Item) -> TypeGuard[Any]:
    return getattr(item, "originalname", "") == test_it_keeps_its_promise.__name__


REPRESENTATIVES = {"sklearn-grid", "keras-tuner-random", "optuna-tpe", "optuna-asha", "hyperband-fixed", "catcma", "dehb"}
"""One method per family: grid, random search, model, early stopping, multi-fidelity, evolution, and both of the last two."""


def marked(spec: MethodSpec, check: str) -> Any:
    return pytest.param(spec.name, check, marks=[] if spec.name in REPRESENTATIVES else [pytest.mark.contract])


@pytest.mark.parametrize(("name", "check"), [marked(spec, check) for spec in CHECKED for check in names_of(spec)])
def test_it_keeps_its_promise(name: str, check: str, checking: dict[str, Future[dict[str, Result]]]) -> None:
    result = checking[name].result()[check]
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(f"only in make check-methods: {result.said}")
    assert result.verdict is not Verdict.FAILED, result.said


@pytest.mark.parametrize("spec", METHODS, ids=lambda spec: spec.name)
def test_its_spec_is_complete(spec: MethodSpec) -> None:
    assert spec.summary.endswith(".")
    assert spec.source
    assert spec.when.endswith(".")
    assert importable(spec.package)
    assert spec.version, "framework must name a distribution"
    assert spec.settings_model()(), "every setting must have a default"


def test_every_known_failure_has_a_reason_and_names_a_check_that_applies() -> None:
    for (method, check), reason in KNOWN.items():
        assert check in CHECKS
        assert reason
        assert method not in REGISTRY or check in names_of(REGISTRY[method])


def test_every_method_claims_to_be_as_good_as_random_search_or_has_a_reason_not_to() -> None:
    assert {spec.name for spec in REGISTRY.values() if not spec.beats_random} == set(NO_CLAIM)
    assert all(NO_CLAIM.values())


def kinds() -> dict[str, str]:
    """Return a method for each way of training: full, stopped early, and resumed."""
    methods: dict[str, str] = {}
    for spec in METHODS:
        if (spec.name, "resumes_only_trials_whose_weights_are_kept") in KNOWN:
            continue
        kind = "resumed" if spec.warm_start else "stopped" if spec.stop_rule else "full"
        methods.setdefault(kind, spec.name)
    return methods


@pytest.mark.parametrize("name", kinds().values(), ids=kinds())
def test_it_trains_real_trials(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tuneoff.contract.harness import Subject
    from tuneoff.contract.real_training import TRAINING

    TRAINING.run(Subject(find(name)), tmp_path_factory.mktemp("training"))
