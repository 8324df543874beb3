"""Compares `tuneoff plan` with a real `tuneoff run`: plan_check.py STUDY…; exit code 1 beyond a factor of 1.5."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time

FACTOR = 1.5


def planned_and_real(study: str) -> tuple[float, float]:
    """Seconds that the plan says and that the run takes, one right after the other."""
    command = [sys.executable, "-m", "tuneoff"]
    plan = subprocess.run([*command, "plan", study, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        subprocess.run([*command, "run", study, "--out", out], stdout=subprocess.DEVNULL, check=True)
        return float(json.loads(plan.stdout)["seconds"]), time.monotonic() - began


def main(studies: list[str]) -> int:
    worst = 1.0
    for study in studies:
        planned, real = planned_and_real(study)
        worst = max(worst, planned / real, real / planned)
        print(f"{study}: planned {planned:.0f} s, took {real:.0f} s, planned / real = {planned / real:.2f}", flush=True)
    return int(worst > FACTOR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
