"""Study files made to cost time or memory, or to slip a name past the checks: each is answered soon, in a sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from examples import MINIMAL
from tuneoff.planning.plan import lines, without_probe
from tuneoff.study_file.check import check_file, read_study

MOST_SECONDS = 8.0
"""Of the processor, on a slow machine; the slowest takes about one."""


def said(folder: Path, text: str) -> list[str]:
    """The faults of a study file of this text, within the time allowed."""
    file = folder / "study.yaml"
    file.write_text(text, encoding="utf-8")
    began = time.process_time()
    study, faults = check_file(file)
    assert time.process_time() - began < MOST_SECONDS
    assert study is not None or faults, "what is no study has a fault"
    sentences = [fault.sentence("study.yaml") for fault in faults]
    assert all(s.isprintable() and len(s) < 400 for s in sentences)
    return sentences


def space(*parameters: str) -> str:
    return MINIMAL + "space:\n" + "".join(f"  p{i}: {{{fields}}}\n" for i, fields in enumerate(parameters))


RANGE = "type: int, low: 1, high: 2"
EVERY_METHOD = "[" + ", ".join(f"{{name: grid, label: g{i}}}" for i in range(100)) + "]"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MINIMAL + f"space: {{a: &x {{{RANGE}}}, b: {{{RANGE}, when: {{a: [{'*x, ' * 9_000}]}}}}}}", "anchors and aliases"),
        (MINIMAL + f"seeds: &s [{'*s, ' * 1_000_000}]"[:900_000], "more than 20,000 values"),
        (MINIMAL.replace("[mnist]", f"[{'minst, ' * 15_000}]"), "there are too many entries: give at most 100 entries"),
        (MINIMAL.replace("[mnist]", f"[{'a/b.npz, ' * 15_000}]"), "there are too many entries: give at most 100 entries"),
        (MINIMAL.replace("[random]", f"[{'randon, ' * 15_000}]"), "there are too many entries: give at most 100 entries"),
        (MINIMAL + f"seeds: [{'1, ' * 15_000}]", "there are too many entries: give at most 1000 entries"),
        (MINIMAL + "".join(f"k{i}: 1\n" for i in range(9_000)), "the field is unknown"),
        (space(f"{RANGE}, when: {{p0: [{'1, ' * 15_000}]}}", RANGE), "there are too many entries: give at most 1000 entries"),
        (space(*[f"{RANGE}, when: {{q1: [1], q2: [1], q3: [1], q4: [1]}}"] * 400), "which is none of the space's parameters"),
        (space(*[f"{RANGE}, when: {{p{(i + 1) % 500}: [1]}}" for i in range(500)]), "form a circle"),
        (space(f"type: categorical, values: [{'0.5, ' * 15_000}]"), "there are too many entries: give at most 1000 entries"),
        (
            space(f"type: categorical, values: {[*range(1000)]}", f"{RANGE}, when: {{p0: [{'999, ' * 1001}]}}"),
            "there are too many entries: give at most 1000 entries",
        ),
        (space("type: int, low: 1, high: 1000000000, step: 1"), "1 gives 1e+09 values, and at most 10,000 are allowed"),
        (
            space(*["type: int, low: 1, high: 1000000, step: 101"] * 500).replace("[random]", EVERY_METHOD),
            "the space's grid has more than 10^15 points, and grid takes at most 10,000,000",
        ),
        (
            space(*["type: int, low: 1, high: 2000, grid_points: 1000"] * 500).replace("[random]", "[grid]"),
            "the space's grid has more than 10^15 points",
        ),
        (MINIMAL + f"model: {'a.' * 400_000}b:c", "there is no module 'a'"),
        (MINIMAL + f"model: \"{', ' * 400_000}\"", "give paper-cnn, or module:function"),
        (MINIMAL + f"? '{'k' * 900_000}'\n: 1", "the field is unknown"),
    ],
    ids=lambda text: text[:40] if len(text) < 100 else str(len(text)),
)  # fmt: skip
def test_a_study_made_to_cost_time_is_answered_soon(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in "\n".join(said(tmp_path, text))


@pytest.mark.parametrize(
    ("addition", "sentence"),
    [
        ('space: {"abc\\n": {type: int, low: 1, high: 2}}', "the parameter name 'abc\\n' must be a letter followed by"),
        ("space: {../x: {type: int, low: 1, high: 2}}", "the parameter name '../x' must be a letter followed by"),
        ("space: {a: {type: float, low: -1e308, high: 1e308}}", "space.a: a range from -1e+308 to 1e+308 is too wide"),
        ("space: {a: {type: float, low: 1e-308, high: 1e308, log: true}}", "space.a: a range from 1e-308 to 1e+308 is too wide"),
        ("space: {a: {type: float, low: 0, high: 1e400}}", "space.a.high: inf is not allowed: it must be a finite number"),
        (
            'space: {a: {type: categorical, values: ["\\e[2J"]}}',
            "space.a: the value '\\x1b[2J' is not taken: texts are one line without control characters",
        ),
        ('resources: {cpu: "٣"}', "resources.cpu: '٣' is not allowed: give a number of cores such as 2, 0.5 or 500m"),
        (f'resources: {{memory: "{"9" * 5000}Gi"}}', "…' is not allowed: give an amount such as 8Gi or 512Mi"),
        ("resources: {gpu_type: '<script>'}", "resources.gpu_type: '<script>' is not allowed: give the cluster's name for GPUs"),
        ("resources: {hang_seconds: 1e308}", "resources.hang_seconds: 1e+308 is not allowed: it must be at most 1000000.0"),
        ("budget: {seconds: 1e400}", "budget.seconds: inf is not allowed: it must be a finite number"),
        ("split: {seed: 4294967296}", "split.seed: 4294967296 is not allowed: it must be less than 4294967296"),
        ('artifacts: "a\\0b"', "artifacts: 'a\\x00b' is not allowed: give a folder or s3://bucket/prefix"),
        ('artifacts: "s3://b/a\\nb"', "artifacts: 's3://b/a\\nb' is not allowed: give a folder or s3://bucket/prefix"),
        (f"artifacts: {'a/' * 4000}", "…' is not allowed: give a folder or s3://bucket/prefix"),
        ("artifacts: gs://bucket/x", "artifacts: 'gs://bucket/x' is not allowed: give a folder or s3://bucket/prefix"),
        ("tracking: {uri: databricks}", "tracking.uri: 'databricks' is not allowed: give an MLflow server's http:// or https://"),
        (
            "tracking: {uri: sqlite:////etc/passwd}",
            "tracking.uri: 'sqlite:////etc/passwd' is not allowed: give an MLflow server's",
        ),
        ('tracking: {uri: "http://host/\\e[2J"}', "tracking.uri: 'http://host/\\x1b[2J' is not allowed: give an MLflow server's"),
        ('tracking: {experiment: "a\\n\\e[31m"}', "tracking.experiment: 'a\\n\\x1b[31m' is not allowed: give a name on one line"),
        ("model: sys:exit", "model: 'sys:exit': there is no module 'sys' next to the study file or on the Python path"),
        ("model: ../evil:build", "model: '../evil:build' is not allowed: give paper-cnn, or module:function"),
        ("methods: [{name: random, label: ../../x}]", "label: '../../x' is not allowed: a name has 1 to 40 lower-case letters"),
        ("datasets: [{name: '<script>', path: s3://b/x.npz}]", "name: '<script>' is not allowed: a name has 1 to 40"),
    ],
)
def test_a_name_number_or_place_that_does_not_fit_is_refused(tmp_path: Path, addition: str, sentence: str) -> None:
    section = addition.partition(":")[0]
    text = "".join(line for line in MINIMAL.splitlines(True) if not line.startswith(f"{section}:"))
    assert any(sentence in s.replace(f"{tmp_path}/", "") for s in said(tmp_path, text + addition))


def test_a_long_file_name_is_cut_to_a_name_that_is_one(tmp_path: Path) -> None:
    assert said(tmp_path, MINIMAL.replace("mnist", f"s3://bucket/{'a' * 39}-b.npz")) == []
    assert read_study(tmp_path / "study.yaml").datasets[0].name == "a" * 39


def test_a_valid_study_as_large_as_they_come_is_checked_and_planned_soon(tmp_path: Path) -> None:
    datasets = ", ".join(f"{{name: d{i}, path: s3://b/x.npz}}" for i in range(100))
    chain = [f"{RANGE}, when: {{p{i + 1}: [1]}}" for i in range(499)]
    text = space(*chain, "type: int, low: 1, high: 9000, step: 1").replace("[mnist]", f"[{datasets}]")
    text = text.replace("[random]", "[" + ", ".join(f"{{name: random, label: m{i}}}" for i in range(100)) + "]")
    assert said(tmp_path, text) == []
    began = time.process_time()
    assert len(lines(without_probe(read_study(tmp_path / "study.yaml")))) > 10_000
    assert time.process_time() - began < MOST_SECONDS
