"""Repeat a call that may succeed a little later."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def repeat(
    call: Callable[[], Result],
    may_pass: Callable[[BaseException], bool],
    patience_seconds: float,
    first_pause_seconds: float,
    longest_pause_seconds: float,
    tries: int | None = None,
    before_pause: Callable[[BaseException, float], None] = lambda error, pause: None,
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

    Raises:
        BaseException: The last error of `call`.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, stop_never, wait_exponential

    def note(state: object) -> None:
        error, pause = state.outcome.exception(), state.next_action.sleep  # type: ignore[attr-defined]
        before_pause(error, pause)

    return Retrying(
        retry=retry_if_exception(may_pass),
        stop=stop_before_delay(patience_seconds) | (stop_after_attempt(tries) if tries else stop_never),
        wait=wait_exponential(multiplier=first_pause_seconds, max=longest_pause_seconds),
        before_sleep=note,
        reraise=True,
    )(call)
