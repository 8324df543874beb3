"""Any study file gives either a study that can be planned, or faults of one line each: quickly, and without a traceback."""

from __future__ import annotations

import io
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples import FULL, LIBRARY_WORDING, MINIMAL
from tuneoff.cli.main import main
from tuneoff.core.study import Study
from tuneoff.study_file.check import check_file
from tuneoff.study_file.yaml_reader import parse

MOST_SECONDS = 5.0
"""The limit for checking, validating and planning one study; the slowest takes one second."""

fuzz = settings(deadline=None, max_examples=5 * settings.default.max_examples, suppress_health_check=list(HealthCheck))
"""2,000 studies in total; `make fuzz` looks at ten times as many."""


def answer(*arguments: str) -> tuple[int, str, str]:
    """Run the command in this process, and return its exit code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["tuneoff", *arguments]),
        mock.patch.object(sys, "path", list(sys.path)),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.getvalue(), err.getvalue()


def judge(data: bytes) -> None:
    """Check and validate a study file with this content, and plan it if it is valid."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "study.yaml")
        file.write_bytes(data)
        began = time.process_time()
        study, faults = check_file(file)
        sentences = [fault.sentence(str(file)) for fault in faults]
        code, out, err = answer("validate", str(file))
        assert err.splitlines() == [f"tuneoff: {sentence}" for sentence in sentences]
        for sentence in sentences:
            assert sentence.startswith(str(file))
            assert sentence.isprintable()
            assert len(sentence) < 600
            assert not LIBRARY_WORDING.search(sentence), sentence
        if faults:
            assert code == 2
            assert answer("plan", str(file), "--no-probe")[0] == 2
        else:
            assert code == 0
            assert study is not None
            assert Study.model_validate_json(study.model_dump_json()) == study
            assert f"{file} is valid" in out
            assert answer("plan", str(file), "--no-probe")[0] == 0
        assert time.process_time() - began < MOST_SECONDS


# The same study with other values, and other shapes

ODD: list[Any] = [None, True, 0, -1, 3, 2.5, 1e308, -1e308, 5e-324, math.nan, math.inf, 2**31, 2**62, -(2**62), 2**64, 10**400]
ODD += ["", " ", "text", "a/b.npz", "s3://x", "s3://b/" + "a" * 39 + "-b.npz", "file:///etc/passwd", "https://me:pw@host/x"]
ODD += ["../..", "/dev/zero", "x" * 2000, "\0\n", "\x1b[31m", "\u202e", "\ufffe", "<script>alert(1)</script>", "=1+1", "${HOME}"]
ODD += ["2024-01-01", "9" * 400, "٣", "os:system", "sys:exit", "a.b.c:d", ".:a", "random", "grid", "mnist", "paper-cnn"]
ODD += [
    [],
    [[]],
    ["random"],
    ["grid", "bayes"],
    list(range(300)),
    {},
    {"a": 1},
    {"name": "grid"},
    {"name": "bayes", "settings": {"xi": 0}},
]
ODD += [{"type": "int", "low": 1, "high": 2}, {"type": "float", "low": -1e308, "high": 1e308, "step": 1e-300}]
ODD += [{"type": "categorical", "values": list(range(1000))}, {"a": {"a": {"a": {"a": {"a": 1}}}}}]

SELF_CONTAINED = FULL.replace("mine.npz", "s3://bucket/mine.npz").replace("mymodel:build", "paper-cnn")
WHOLE = parse(SELF_CONTAINED).value


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield where
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*where, key))


PLACES = list(places(WHOLE))[1:]
WORDS = sorted({str(key) for where in PLACES for key in where if isinstance(key, str)})
WORDS += ["a", "x y", "\n", "k" * 500, "..", "<b>"]


def changed(value: Any, where: tuple[Any, ...], change: Any) -> Any:
    """Return the document with `change` applied at a place; unchanged if an earlier change removed the place."""
    first, *rest = where
    try:
        copy = value.copy()
        if rest:
            copy[first] = changed(copy[first], tuple(rest), change)
        else:
            change(copy, first)
    except (AttributeError, KeyError, IndexError, TypeError):
        return value
    return copy


def replace(container: Any, key: Any, new: Any) -> None:
    container[key] = new


def remove(container: Any, key: Any, new: Any) -> None:
    del container[key]


def wrap(container: Any, key: Any, new: Any) -> None:
    container[key] = {"a": container[key]} if isinstance(new, str) else [container[key]]


def turn(container: Any, key: Any, new: Any) -> None:
    container[key] = str(container[key]) if isinstance(new, str) else [new, container[key]]


def double(container: Any, key: Any, new: Any) -> None:
    if isinstance(container, list):
        container.append(container[key])


def rename(container: Any, key: Any, new: Any) -> None:
    if isinstance(container, dict):
        container[WORDS[len(repr(new)) % len(WORDS)]] = container.pop(key)


CHANGES = st.tuples(
    st.sampled_from([replace, replace, remove, wrap, turn, double, rename]), st.sampled_from(PLACES), st.sampled_from(ODD)
)


def dumped(document: Any) -> bytes:
    text: str = yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), allow_unicode=True, sort_keys=False)
    return text.encode("utf-8", "surrogatepass")


@fuzz
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_a_study_with_other_values_keys_and_types(changes: list[tuple[Any, tuple[Any, ...], Any]]) -> None:
    document = WHOLE
    for change, where, new in changes:
        document = changed(document, where, lambda container, key, do=change, odd=new: do(container, key, odd))
    judge(dumped(document))


@fuzz
@given(
    st.recursive(
        st.sampled_from(ODD),
        lambda s: st.lists(s, max_size=4) | st.dictionaries(st.sampled_from(WORDS), s, max_size=5),
        max_leaves=20,
    )
)
def test_a_document_of_any_shape(document: Any) -> None:
    judge(dumped({**WHOLE, **document} if isinstance(document, dict) else document))


# The same text, damaged

NASTY = [
    "1e400",
    "-1e400",
    "1e-400",
    ".nan",
    "-.inf",
    "9" * 30,
    "0x" + "f" * 40,
    "0o777777777777777777777777",
    "-0",
    "1_000",
    "null",
    "yes",
]
NASTY += [
    "&a [*a]",
    "*a",
    "<<: *a",
    "!!python/object/apply:os.system ['true']",
    "!!set {a}",
    "!!binary aGk=",
    "!x y",
    "%YAML 9.9",
    "---",
]
NASTY += [
    "[" * 60,
    "{" * 60,
    "- " * 60,
    "? ? ?",
    "''",
    "'",
    '"',
    '"\\0"',
    '"\\e[2J"',
    '"\\uFFFE"',
    '"\\u202E"',
    "|",
    ">-",
    "#",
    "\t",
    "\ufeff",
]
NASTY += [
    "s3://me:pw@b/x.npz",
    "http://me:pw@host",
    "file:///etc/passwd",
    "../../etc/passwd",
    "/dev/zero",
    "<script>",
    "=1+1",
    "x" * 3000,
]
NASTY += [
    "{type: int, low: 1, high: 9223372036854775807, step: 1}",
    "[" + "1, " * 2000 + "]",
    "[grid, grid]",
    "sys:exit",
    "a:b:c",
    "@",
    "`",
]

DAMAGE = st.tuples(
    st.sampled_from(["value", "delete line", "double line", "move line", "indent", "cut", "insert"]),
    st.integers(0, 10_000),
    st.integers(0, 30),
    st.sampled_from(NASTY),
)


def damaged(text: str, kind: str, place: int, size: int, nasty: str) -> str:
    lines = text.split("\n")
    line, column = place % len(lines), place % (len(text) + 1)
    match kind:
        case "value":
            key, colon, _ = lines[line].partition(":")
            lines[line] = f"{key}{colon} {nasty}"
        case "delete line":
            del lines[line]
        case "double line":
            lines.insert(line, lines[line])
        case "move line":
            lines.insert(size % len(lines), lines.pop(line))
        case "indent":
            lines[line] = " " * (size % 9) + lines[line].lstrip()
        case "cut":
            return text[:column] + text[column + size :]
        case _:
            return text[:column] + nasty + text[column:]
    return "\n".join(lines)


@fuzz
@given(st.sampled_from([MINIMAL, SELF_CONTAINED]), st.lists(DAMAGE, min_size=1, max_size=4))
def test_a_text_with_damaged_lines(text: str, damages: list[tuple[str, int, int, str]]) -> None:
    for damage in damages:
        text = damaged(text, *damage)
    judge(text.encode("utf-8", "surrogatepass"))


@fuzz
@given(
    st.sampled_from([MINIMAL, SELF_CONTAINED]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(32, 126) | st.integers(0, 255)), min_size=1, max_size=3),
)
def test_a_file_with_flipped_bytes(text: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(text.encode())
    for place, byte in flips:
        data[place % len(data)] = byte
    judge(bytes(data))
