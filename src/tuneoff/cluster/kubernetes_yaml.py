"""Write YAML for kubectl and KFP that every reader parses to the same strings.

PyYAML follows YAML 1.1. kubectl, KFP and Katib read YAML in Go, with a mixture of the rules of YAML 1.1 and 1.2. For example,
PyYAML leaves `1e-05` unquoted because it reads a string there. Go reads a number, and the API server then rejects the manifest
if the field has type string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from typing import Any

import yaml

_AMBIGUOUS = re.compile(
    r"[-+._]*([0-9][-+_.:0-9a-fopxtz ]*)?"  # numbers in any notation, dates and times
    r"|[-+.]*(inf|infinity|nan)"
    r"|y|n|yes|no|on|off|true|false|null|~|=|<<",
    re.IGNORECASE,
)
"""Matches every text that some YAML reader could parse as something other than a string, and a few more texts for safety."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Quoted(str):
    """A string that is always written with quotes."""


class _Dumper(yaml.SafeDumper):
    """A PyYAML dumper that also quotes texts that other YAML readers would not parse as strings."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        quoted = isinstance(text, _Quoted) or _AMBIGUOUS.fullmatch(text)
        return self.represent_scalar("tag:yaml.org,2002:str", str(text), style="'" if quoted else None)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(_Quoted, _Dumper.represent_text)


def dump(documents: Iterable[Any], quoted: Iterable[str] = (), **options: Any) -> str:
    """Return the documents as YAML text.

    Args:
        documents: One or more documents of mappings, lists and plain scalars.
        quoted: Every string value below these keys is quoted, even if it is unambiguous.
        options: Passed to `yaml.dump_all`, such as `sort_keys` and `width`.
    """
    keys = frozenset(quoted)
    text: str = yaml.dump_all([_marked(d, keys, False) for d in documents], Dumper=_Dumper, **options)
    return text


def requoted(text: str) -> str:
    """Return YAML written by PyYAML, such as a pipeline compiled by KFP, with the quotes that other readers need.

    Comments at the top are kept. Keys are sorted, as in KFP's output.
    """
    comments = "".join(takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True)))
    return comments + dump(yaml.load_all(text, _Loader), sort_keys=True)


def _marked(value: Any, keys: frozenset[str], inside: bool) -> Any:
    """Return a copy with the strings to quote marked. Each list and mapping is a new object, so YAML writes no aliases."""
    if isinstance(value, Mapping):
        return {key: _marked(item, keys, inside or key in keys) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item, keys, inside) for item in value]
    return _Quoted(value) if inside and isinstance(value, str) else value
