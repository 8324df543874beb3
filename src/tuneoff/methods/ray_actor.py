"""The processes in which Ray Tune's trials live, and the server in the method's process that runs their steps."""

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
    """The content of a Ray trial's checkpoint.

    Attributes:
        trial: Tuneoff's trial with the weights from which the Ray trial resumes, if any.
        epoch: The number of epochs that Ray counts for the Ray trial.
    """

    trial: int | None = None
    epoch: int = 0


@dataclass(frozen=True)
class Step:
    """The result of a step of a Ray trial."""

    state: State
    loss: float
    done: bool = False


class StepServer:
    """Answer `step` and `end` of actors over a local socket, with one thread per actor."""

    def __init__(self, step: Callable[[str, dict[str, Any], State], Step], end: Callable[[str], None]) -> None:
        self._step = step
        self._end = end
        self._key = secrets.token_bytes(16)
        self._listener = Listener(("127.0.0.1", 0), authkey=self._key)
        threading.Thread(target=self._accept, name="ray-steps", daemon=True).start()

    def actor(self) -> Any:
        """Return a Trainable class whose steps this server answers."""
        return _actor(self._listener.address, self._key)

    def _accept(self) -> None:
        while True:
            threading.Thread(target=self._serve, args=[self._listener.accept()], daemon=True).start()

    def _serve(self, pipe: Connection) -> None:
        with suppress(EOFError, OSError):  # Ray notices itself that an actor has ended
            while True:
                verb, *arguments = pipe.recv()
                pipe.send((self._step if verb == "step" else self._end)(*arguments))


def _actor(address: Any, key: bytes) -> Any:
    from ray import tune

    class RayTrial(tune.Trainable):  # type: ignore[misc]
        """A Ray trial. It does not train, but requests its steps from the server."""

        def setup(self, config: dict[str, Any]) -> None:
            self._pipe = Client(address, authkey=key)
            self._begin(config)

        def _begin(self, config: dict[str, Any]) -> None:
            self._values = dict(config)
            self._state = State()
            self._ray_trial = self.trial_id

        def step(self) -> dict[str, Any]:
            result: Step = self._request("step", self._ray_trial, self._values, self._state)
            self._state = result.state
            return {"loss": result.loss, "epoch": result.state.epoch, "done": result.done}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._request("end", self._ray_trial)
            self._begin(new_config)
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {"trial": self._state.trial, "epoch": self._state.epoch}

        def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
            assert checkpoint is not None
            self._state = State(checkpoint["trial"], checkpoint["epoch"])

        def cleanup(self) -> None:
            with suppress(EOFError, OSError):  # the search has ended
                self._request("end", self._ray_trial)

        def _request(self, *message: Any) -> Any:
            self._pipe.send(message)
            return self._pipe.recv()

    return RayTrial
