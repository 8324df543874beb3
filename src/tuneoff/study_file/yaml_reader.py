"""Read YAML as plain data: YAML 1.2 scalars, a line number for every field, and no aliases or tags."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..core.errors import first_line
from .faults import Fault, Place, field_name, quoted

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_VALUES = 20_000


@dataclass
class Document:
    """The content of a YAML file.

    A value that cannot be read is None in `value`. Its place is in `unread`, and `faults` has an entry for it.
    """

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unread: set[Place] = field(default_factory=set)

    def line(self, where: Place) -> int | None:
        """Return the line of a field, or that of the nearest enclosing field; None if neither is known."""
        return next((self.lines[where[:end]] for end in range(len(where), -1, -1) if where[:end] in self.lines), None)


def read(path: Path) -> Document:
    """Read a file. Faults of its YAML are in the document's `faults`; this function raises nothing for them."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            return _unreadable(f"the file is too large: a study file has at most {MAX_BYTES:,} bytes")
        return parse(data.decode("utf-8"))
    except UnicodeDecodeError:
        return _unreadable("the file is not UTF-8 text: save the study file as YAML in UTF-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _unreadable(f"the file cannot be read: {reason}; give the path of a study file (YAML)")


def _unreadable(message: str, line: int | None = None) -> Document:
    return Document(faults=[Fault((), line, message)], unread={()})


def parse(text: str) -> Document:
    """Parse a YAML text. Aliases, tags, deep nesting and repeated keys become faults; they are never expanded."""
    reader = _Reader(text)
    try:
        return reader.document()
    except _Stop as stop:
        return _unreadable(str(stop), stop.line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _unreadable(f"this is not valid YAML: {error.problem or error.context}", mark.line + 1 if mark else None)
    except yaml.YAMLError as error:
        return _unreadable(f"this is not valid YAML: {first_line(error)}")


class _Stop(Exception):
    """Stop reading: the rest of the text cannot be a study."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Reader:
    """Build one document from the YAML parser's stream of events."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        self._found = Document()
        self._depth = self._values = 0
        self._anchored = False

    def document(self) -> Document:
        start = [next(self._events), next(self._events)][-1]
        if isinstance(start, yaml.StreamEndEvent):
            raise _Stop(1, "the file is empty: a study needs at least name, datasets, methods and budget")
        self._found.value = self._value(next(self._events), ())
        end = [next(self._events), next(self._events)][-1]
        if not isinstance(end, yaml.StreamEndEvent):
            raise _Stop(_line(end), "a second YAML document begins here: a study file holds one document, so remove the others")
        return self._found

    def _value(self, event: Any, where: Place) -> Any:
        self._found.lines.setdefault(where, _line(event))
        self._count(event)
        if isinstance(event, yaml.AliasEvent):
            self._found.unread.add(where)
            return None
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, where)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Stop(_line(event), f"the file is nested more than {MAX_DEPTH} levels deep: a study needs fewer than ten")
        if event.tag is not None:
            self._refuse_tag(event, where)
        found = self._list(where) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(where)
        self._depth -= 1
        return found if event.tag is None else None

    def _count(self, event: Any) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _Stop(_line(event), f"the file has more than {MAX_VALUES:,} values: a study file has at most {MAX_VALUES:,}")
        if event.anchor and not self._anchored:
            self._anchored = True
            self._fault((), event, "YAML anchors and aliases (& and *) are not allowed: write the values out")

    def _list(self, where: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*where, len(items))))
        return items

    def _mapping(self, where: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, where)
            place = (*where, "?" if key is None else key)
            doubled = key in found
            if doubled:
                self._fault(place, event, f"{field_name(place)} is given twice: remove one of the two")
            elif key is not None:
                self._found.lines[place] = _line(event)
            value = self._value(next(self._events), (*where, "?") if doubled else place)
            if key is not None and not doubled:
                found[key] = value
        return found

    def _key(self, event: Any, where: Place) -> str | None:
        """Return a mapping's key. If it is not text, return None and add a fault."""
        known = len(self._found.faults)
        key = self._value(event, (*where, "?"))
        self._found.lines.pop((*where, "?"), None)
        if isinstance(key, str):
            return key
        if len(self._found.faults) == known:
            self._fault(where, event, f"{quoted(key)} is not a valid key: a key must be text, so put it in quotation marks")
        return None

    def _scalar(self, event: Any, where: Place) -> Any:
        if not event.implicit[0]:
            if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
                self._refuse_tag(event, where)
                return None
            return event.value
        value = _core(event.value)
        if isinstance(value, int) and abs(value) >= 2**63:
            self._fault(where, event, f"{quoted(event.value)[1:-1]} is not allowed: a whole number has at most 63 bits")
            self._found.unread.add(where)
            return None
        return value

    def _refuse_tag(self, event: Any, where: Place) -> None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        self._fault(where, event, f"the tag {quoted(tag)} is not allowed: write plain text, numbers, true or false")
        self._found.unread.add(where)

    def _fault(self, where: Place, event: Any, message: str) -> None:
        self._found.faults.append(Fault(where, _line(event), message))


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}


def _core(text: str) -> Any:
    """Convert a plain scalar by the core schema of YAML 1.2.

    So 1e-3 is a number, and yes, on and 2024-01-01 are text; YAML 1.1 reads all four differently.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text) if len(text) < 25 else 2**63
    if re.fullmatch(r"0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return float(text) if _FLOAT.fullmatch(text) else text
