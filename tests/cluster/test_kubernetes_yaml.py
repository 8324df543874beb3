"""Test YAML for kubectl and KFP: readers for YAML 1.1, for YAML 1.2 and in Go all parse the strings that were written."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tuneoff.cluster.kubernetes_yaml import dump, requoted
from yaml_readers import READERS, go

LIKE_NUMBERS = [
    *(
        "1e-05",
        "1e5",
        "1E5",
        "1.5e+3",
        "+1",
        "-1",
        "0o17",
        "017",
        "0x1F",
        "0b11",
        "1_000",
        "-_1",
        "_1",
        ".5",
        "+.5e3",
        "5.",
        "1._5",
    ),
    *("._1", ".", ".inf", "-.INF", "+.Inf", ".nan", ".NaN", "inf", "NaN", "Infinity", "1e+5_0", "0x1p-2", "0.0.1"),
]
LIKE_WORDS = ["true", "False", "yes", "NO", "on", "Off", "y", "N", "null", "Null", "~", "", "=", "<<"]
LIKE_TIMES = ["2024-01-01", "2024-1-1", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43.10 -5", "1:30", "190:20:30.15"]
ODD = [*LIKE_NUMBERS, *LIKE_WORDS, *LIKE_TIMES]
PLAIN = ["relu", "8Gi", "500m", "mnist", "2 images", "nvidia.com/gpu", "v1beta1", "e5", "--epochs", "one.two"]


def manifest(values: list[str]) -> dict[str, Any]:
    """Return a manifest with the texts as values, as list entries and as keys."""
    spec = {"values": {f"v{n}": text for n, text in enumerate(values)}, "list": values, "keys": dict.fromkeys(values, "text")}
    return {"apiVersion": "example.org/v1", "kind": "Odd", "metadata": {"name": "odd"}, "spec": spec}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", ODD)
def test_an_ambiguous_text_is_parsed_as_a_string(reader: str, text: str) -> None:
    document = manifest([text])
    assert READERS[reader](dump([document])) == [document]


@pytest.mark.parametrize("text", ODD)
def test_an_ambiguous_text_is_quoted(text: str) -> None:
    assert dump([{"a": text}]) == f"a: '{text}'\n"


@pytest.mark.parametrize("text", PLAIN)
def test_an_unambiguous_text_is_not_quoted(text: str) -> None:
    assert dump([{"a": text}]) == f"a: {text}\n"


def test_kubectl_reads_the_same_strings() -> None:
    document = manifest([*ODD, *PLAIN])
    assert go(dump([document])) == document


def test_other_readers_misread_the_output_of_pyyaml() -> None:
    written = yaml.safe_dump(manifest(["1e-05", "-_1", "0o17"]))
    assert READERS["YAML 1.2"](written)[0]["spec"]["list"] == [1e-05, -1, 15]
    assert go(written)["spec"]["list"] == [1e-05, -1, 15]


@settings(deadline=None, max_examples=300)
@given(st.text("0123456789+-._:eExXoObBaAfFiInNyYtTzZ~<= ", max_size=10) | st.text(max_size=10))
@example("1e-05")
def test_any_text_survives_a_round_trip(text: str) -> None:
    text = "".join(c for c in text if c.isprintable())
    document = {"value": text, "list": [text], "keys": {text: 1}}
    written = dump([document])
    for name, reader in READERS.items():
        assert reader(written) == [document], name


def test_numbers_booleans_and_null_keep_their_types() -> None:
    document = {"a": 1, "b": 1e-05, "c": True, "d": None, "e": [2.5, -3]}
    written = dump([document])
    for name, reader in READERS.items():
        assert reader(written) == [document], name


def test_all_strings_below_a_named_key_are_quoted() -> None:
    document = {"space": {"min": "1", "list": ["relu", "tanh"], "count": 2}, "kind": "relu"}
    lines = dump([document], quoted=["space"], sort_keys=False).splitlines()
    assert lines == ["space:", "  min: '1'", "  list:", "  - 'relu'", "  - 'tanh'", "  count: 2", "kind: relu"]


def test_a_value_that_occurs_twice_is_written_twice_without_an_alias() -> None:
    shared = {"cpu": "1"}
    assert "&" not in dump([{"limits": shared, "requests": shared}])


def test_requoted_adds_missing_quotes_and_keeps_comments() -> None:
    written = "# Name: a\n# Inputs: 1e-05\na: 1e-05\nb: 0.5\nc:\n  '1': yes please\n---\nd: -_1\n"
    assert requoted(written) == "# Name: a\n# Inputs: 1e-05\na: '1e-05'\nb: 0.5\nc:\n  '1': yes please\n---\nd: '-_1'\n"
