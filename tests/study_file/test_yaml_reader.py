"""Reading YAML: values by YAML 1.2's core schema, a line for every field, and nothing that a text could do beyond being text."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest

from tuneoff.study_file.yaml_reader import MAX_BYTES, parse, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("-3", -3),
        ("+4", 4),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.e2", 100.0),
        ("-.5", -0.5),
        ("1.0", 1.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("null", None),
        ("~", None),
        ("'null'", "null"),
        ('"16"', "16"),
        ("!!str 16", "16"),
        ("2024-01-01", "2024-01-01"),
        ("1e-3x", "1e-3x"),
        ("SGD", "SGD"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_plain_scalars_are_what_yaml_1_2_says(text: str, value: Any) -> None:
    document = parse(f"a: [{text}]")
    assert document.faults == []
    assert document.value == {"a": [value]}
    assert type(document.value["a"][0]) is type(value)


def test_an_empty_value_is_null_and_nan_is_a_number() -> None:
    assert parse("a:").value == {"a": None}
    assert math.isnan(parse(".nan").value)


def test_every_field_has_its_line() -> None:
    document = parse("name: x\nmethods:\n  - random\n  - name: grid\n    settings: {order: shuffled}\n")
    assert document.line(("name",)) == 1
    assert document.line(("methods",)) == 2
    assert document.line(("methods", 0)) == 3
    assert document.line(("methods", 1, "settings", "order")) == 5
    assert document.line(("methods", 1, "label")) == 4, "a field that is not there has the line of what it is missing in"
    assert document.line(("budget", "trials")) == 1


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: &x 1\nb: 2", 1, "anchors and aliases (& and *) are not allowed"),
        ("a: 1\nb: *x", 2, "anchors and aliases (& and *) are not allowed"),
        ("a: &x {c: 1}\n<<: *x", 1, "anchors and aliases (& and *) are not allowed"),
        ("a:\n  b: 1\n  b: 2", 3, "a.b is given twice: remove one of the two"),
        ("a: 1\n3: 2", 2, "3 is not a valid key: a key must be text"),
        ("true: 2", 1, "true is not a valid key: a key must be text"),
        ("~: 2", 1, "null is not a valid key: a key must be text"),
        ("? [a, b]\n: 2", 1, '["a", "b"] is not a valid key: a key must be text'),
        ("a: !!python/object:os.system x", 1, "the tag '!!python/object:os.system' is not allowed"),
        ("a: !!python/object/apply:os.system [x]", 1, "the tag '!!python/object/apply:os.system' is not allowed"),
        ("a: !!set {b}", 1, "the tag '!!set' is not allowed"),
        ("a: !mine b", 1, "the tag '!mine' is not allowed"),
        ("a: !!timestamp 2024-01-01", 1, "the tag '!!timestamp' is not allowed"),
        ("a: 1\nb: 9223372036854775808", 2, "9223372036854775808 is not allowed: a whole number has at most 63 bits"),
        ("a: 0x" + "f" * 5000, 1, "a whole number has at most 63 bits"),
        ("a: " + "9" * 5000, 1, "a whole number has at most 63 bits"),
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("a: 1\n---\nb: 2", 2, "a second YAML document begins here"),
        ("a: [1\nb: 2", 2, "this is not valid YAML: did not find expected ',' or ']'"),
        ("a:\n\t- b", 2, "this is not valid YAML: found character that cannot start any token"),
        ("a: b: c", 1, "this is not valid YAML: mapping values are not allowed"),
        ("a: \0", None, "this is not valid YAML: unacceptable character #x0000"),
        ('a: "\\ud800"', 1, "this is not valid YAML: found invalid Unicode character escape code"),
        ("%YAML 2.0\n---\na: 1", 1, "this is not valid YAML: found incompatible YAML document"),
        ("a: " + "[" * 100 + "]" * 100, 1, "nested more than 30 levels deep"),
        ("[" * 400_000, 1, "nested more than 30 levels deep"),
        ("".join(" " * i + "a:\n" for i in range(100)), 31, "nested more than 30 levels deep"),
        ("a: [" + "1," * 20_001 + "]", 1, "more than 20,000 values: a study file has at most 20,000"),
    ],
)
def test_what_is_not_taken_is_one_fault_with_its_line(text: str, line: int | None, message: str) -> None:
    (fault,) = parse(text).faults
    assert message in fault.message
    assert fault.line == line


def test_a_tag_runs_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    parse(f"a: !!python/object/apply:os.system ['touch {witness}']\nb: !!python/object/new:os.system [x]")
    assert not witness.exists()


def test_reading_goes_on_after_a_fault() -> None:
    document = parse("a: 1\na: 2\n3: {a: 1}\nb: !!set {x}\nc: 4\nd: &x 5\n")
    assert document.value == {"a": 1, "b": None, "c": 4, "d": 5}
    assert [f.line for f in document.faults] == [2, 3, 4, 6]


def test_a_million_aliases_are_refused_before_they_cost_anything() -> None:
    bomb = "a: &a [x, x]\nb: [" + "*a," * 1_000_000 + "]"
    began = time.process_time()
    (fault,) = parse(bomb).faults
    assert "more than 20,000 values" in fault.message
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x7fELF\xff\xfe\0", "the file is not UTF-8 text"),
        ("name: ä".encode("utf-16"), "the file is not UTF-8 text"),
        (b"#" * (MAX_BYTES + 1), "the file is too large: a study file has at most 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "study.yaml").write_bytes(data)
    (fault,) = read(tmp_path / "study.yaml").faults
    assert message in fault.message


@pytest.mark.parametrize(
    ("name", "reason"), [("", "Is a directory"), ("none.yaml", "No such file or directory"), ("x" * 999, "File name too long")]
)
def test_a_file_that_cannot_be_read_is_said_why(tmp_path: Path, name: str, reason: str) -> None:
    (fault,) = read(tmp_path / name).faults
    assert fault.message == f"the file cannot be read: {reason}; give the path of a study file (YAML)"


@pytest.mark.parametrize("head", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_byte_order_mark_and_foreign_line_ends_do_no_harm(tmp_path: Path, head: bytes, end: bytes) -> None:
    (tmp_path / "study.yaml").write_bytes(head + end.join([b"a: 1", b"b: 2", b""]))
    document = read(tmp_path / "study.yaml")
    assert document.value == {"a": 1, "b": 2}
    assert document.line(("b",)) == 2
