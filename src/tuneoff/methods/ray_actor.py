"""The processes in which Ray Tune's trials live, and the desk in the method's process that answers their steps."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from typing import Any


@dataclass(frozen=True)
class State:
    """What a Ray trial carries in its checkpoints: whose weights it goes on from, and how far it is for Ray."""

    trial: int | None = None
    epoch: int = 0


@dataclass(frozen=True)
class Step:
    """What a step of a Ray trial gave."""

    state: State
    loss: float
    done: bool = False


class Desk:
    """Answers `step` and `end` of the actors over a socket of this machine, each actor in a thread of its own."""

    def __init__(self, step: Callable[[str, dict[str, Any], State], Step], end: Callable[[str], None]) -> None:
        self._step = step
        self._end = end
        self._key = secrets.token_bytes(16)
        self._listener = Listener(("127.0.0.1", 0), authkey=self._key)
        threading.Thread(target=self._accept, name="ray-desk", daemon=True).start()

    def actor(self) -> Any:
        """The Trainable whose steps are asked here."""
        return _actor(self._listener.address, self._key)

    def _accept(self) -> None:
        while True:
            threading.Thread(target=self._serve, args=[self._listener.accept()], daemon=True).start()

    def _serve(self, pipe: Connection) -> None:
        with suppress(EOFError, OSError):  # the actor is gone, which Ray knows
            while True:
                verb, *arguments = pipe.recv()
                pipe.send((self._step if verb == "step" else self._end)(*arguments))


def _actor(address: Any, key: bytes) -> Any:
    from ray import tune

    class Member(tune.Trainable):  # type: ignore[misc]
        """A Ray trial: it trains nothing, and asks at the desk."""

        def setup(self, config: dict[str, Any]) -> None:
            self._pipe = Client(address, authkey=key)
            self._begin(config)

        def _begin(self, config: dict[str, Any]) -> None:
            self._values = dict(config)
            self._state = State()
            self._ours = self.trial_id

        def step(self) -> dict[str, Any]:
            given: Step = self._ask("step", self._ours, self._values, self._state)
            self._state = given.state
            return {"loss": given.loss, "epoch": given.state.epoch, "done": given.done}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._ask("end", self._ours)
            self._begin(new_config)
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {"trial": self._state.trial, "epoch": self._state.epoch}

        def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
            assert checkpoint is not None
            self._state = State(checkpoint["trial"], checkpoint["epoch"])

        def cleanup(self) -> None:
            with suppress(EOFError, OSError):  # the search is over
                self._ask("end", self._ours)

        def _ask(self, *message: Any) -> Any:
            self._pipe.send(message)
            return self._pipe.recv()

    return Member
