"""Measure every speed goal and print it with its result: python -m benchmarks [--quick] [--only PART …] [--out FILE]."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .lines import Line, as_json, machine, table

PARTS = ("search", "bookkeeping", "report", "tracking_search", "resume", "replay")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts. Return 1 if a goal is not met; a quick run is too small to judge and returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="use tiny sizes to check that all parts work; goals do not count")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="write the results and the machine's data as JSON into this file")
    chosen = parser.parse_args(arguments)
    facts = machine()
    lines: list[Line] = []
    for part in chosen.only:
        lines += measure(part, "QUICK" if chosen.quick else "FULL")
    print(f"{facts['processor']}, {facts['cores']} cores, load before: {facts['load_before'][0]}\n\n{table(lines)}")
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(as_json(facts, lines), indent=1) + "\n", encoding="utf-8")
    return int(not chosen.quick and any(line.met is False for line in lines))


def measure(part: str, size: str) -> list[Line]:
    """Return the lines of one part. Calls its `measure` with its own `QUICK` or `FULL` size."""
    if importlib.util.find_spec(f"benchmarks.{part}") is None:
        _note(f"{part}: left out, because benchmarks/{part}.py does not exist")
        return []
    module = importlib.import_module(f"benchmarks.{part}")
    lines: list[Line] = module.measure(getattr(module, size), _note)
    return lines


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
