"""Measures what has a speed goal and prints it beside the goal: python -m benchmarks [--quick] [--only PART …] [--out FILE]."""

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
    """Measure the parts; exit code 1 where a goal is not met, which a quick run is too small to say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all parts work; no goal counts")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="write the figures and the machine's facts as JSON into this file")
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
    """The lines of one part: its `measure` is called with its own `QUICK` or `FULL` size."""
    if importlib.util.find_spec(f"benchmarks.{part}") is None:
        _note(f"{part}: there is no benchmarks/{part}.py, left out")
        return []
    module = importlib.import_module(f"benchmarks.{part}")
    found: list[Line] = module.measure(getattr(module, size), _note)
    return found


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
