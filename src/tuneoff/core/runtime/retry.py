"""Repeat a call that may succeed a little later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class OutageNote:
    """How to report a server that does not answer for a while: one line about the outage, and one when it has ended."""

    server: str
    reason: Callable[[BaseException], str]
    """Returns the reason of an error in a few words."""
    note: Callable[[str], None]
    """Receives each line."""
    after_seconds: float
    """An outage that is shorter, counted from the first failure, is not reported."""


def repeat(
    call: Callable[[], Result],
    may_pass: Callable[[BaseException], bool],
    patience_seconds: float,
    first_pause_seconds: float,
    longest_pause_seconds: float,
    tries: int | None = None,
    before_pause: Callable[[BaseException, float], None] = lambda error, pause: None,
    outage: OutageNote | None = None,
) -> Result:
    """Return the result of `call`. Call it again while it fails in a way that may pass.

    Args:
        call: The call. It must have the same effect if it is repeated.
        may_pass: Tells whether the same call may succeed after this error.
        patience_seconds: No call starts later than this after the first one.
        first_pause_seconds: The pause before the second call. It doubles before each further call.
        longest_pause_seconds: The longest pause.
        tries: The largest number of calls; None for no limit.
        before_pause: Receives the error and the seconds of the pause before each pause.
        outage: How to report that the calls fail for a while; None for no report.

    Raises:
        BaseException: The last error of `call`.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, stop_never, wait_exponential

    failing_since: float | None = None
    reported = False

    def announce(state: Any) -> None:
        nonlocal failing_since, reported
        error, now = state.outcome.exception(), time.monotonic()
        failing_since = now if failing_since is None else failing_since
        before_pause(error, state.next_action.sleep)
        if outage and not reported and now - failing_since > outage.after_seconds:
            reported = True
            outage.note(f"{outage.server} does not answer ({outage.reason(error)}). Trying again for {patience_seconds:g} s.")

    result = Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_before_delay(patience_seconds) | (stop_after_attempt(tries) if tries else stop_never),
        wait=wait_exponential(multiplier=first_pause_seconds, max=longest_pause_seconds),
        before_sleep=announce,
        reraise=True,
    )(call)
    if outage and reported and failing_since is not None:
        outage.note(f"{outage.server} answers again after {time.monotonic() - failing_since:.0f} s.")
    return result
