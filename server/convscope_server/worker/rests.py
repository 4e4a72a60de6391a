"""What happens to a run where it can be put down: it is kept, changed, or put down."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from convscope_sdk.errors import NotApplicable, TechniqueError
from convscope_sdk.state import Saved
from convscope_server.engine.between_steps import MOVED, Steer, Suspend, Suspended, Update, overruled
from convscope_server.engine.messages import Reply, RunSpec
from convscope_server.errors import error_of
from convscope_server.runs.events import Updated
from convscope_server.worker.checkpoints import Checkpoint

if TYPE_CHECKING:
    from convscope_server.worker.recorder import Recorder
    from convscope_server.worker.stepper import Stepper, Told

__all__ = ["Rests"]

logger = logging.getLogger(__name__)

_FEW = 8
_WORTH = 50  # times as long as keeping it took, a run works before it is kept again


class Rests:
    """The states of one run, each a place to rest.

    Args:
        spec: The run.
        stepper: Its technique at work.
        recorder: Its log.
        put: Keeps a checkpoint, and gives its key.
        made_by: Says what must be the same where it goes on.
        send: Where answers go.
        every: Least seconds between two checkpoints; 0: none unless it is put down.

    Attributes:
        wanted_down: Whether the run is to be put down.
        updates: The changes of its parameters that hold, by rising step.
    """

    def __init__(
        self,
        spec: RunSpec,
        stepper: Stepper,
        recorder: Recorder,
        *,
        put: Callable[[Checkpoint], str],
        made_by: Callable[[], dict[str, Any]],
        send: Callable[[Reply | Suspended], None],
        every: float,
    ) -> None:
        self._spec, self._stepper, self._recorder = spec, stepper, recorder
        self._put, self._made_by, self._send, self._every = put, made_by, send, every
        self.wanted_down = False
        self.updates: list[Update] = []
        self._plan = list(spec.updates)
        self._asked: deque[Steer] = deque()
        self._asking: Steer | None = None
        self._rested = 0
        self._kept_at, self._cost = time.monotonic(), 0.0
        self._writing: Future[bool] | None = None

    def ask(self, command: Suspend | Steer) -> None:
        """Take note of what is wanted, from any thread."""
        if isinstance(command, Steer):
            self._asked.append(command)
        else:
            self.wanted_down = True

    def begin(self, introduce: Callable[[], None]) -> None:
        """Have the technique begin, with the parameters that hold from its beginning.

        Args:
            introduce: Tells what it looks at.

        Raises:
            TechniqueError: the run is refused.
        """
        self.updates = self._from_the_beginning()
        self._stepper.begin(self._with(self._spec.params, self.updates))
        introduce()
        self._recorder.send(*(Updated(0, update.params) for update in self.updates))

    def go_on(self, checkpoint: Checkpoint, introduce: Callable[[], None]) -> None:
        """Have the technique go on from a checkpoint; from its beginning where that is of no use.

        Raises:
            TechniqueError: the run is refused.
        """
        step = checkpoint.step
        self.updates = [update for update in self._spec.updates if update.step < step]
        before = self._with(self._spec.params, self.updates)
        variants = _variants([update for update in self._spec.updates if update.step == step])
        choices: list[Mapping[str, Any]] = [self._with(before, variant) for variant in variants]

        def told(refusal: TechniqueError | None, anew: bool) -> None:
            if anew:
                self._rested, self.updates = 0, self._from_the_beginning()
                introduce()
                self._recorder.note(f"it starts from the beginning, since its checkpoint cannot be used: {refusal}")
            else:
                self.updates += variants[choices.index(self._stepper.params)]
                self._recorder.go_on(checkpoint.told, self._stepper.input)
                self._note(refusal)

        self._rested, self._kept_at = step, time.monotonic()
        self._go_on(checkpoint.saved, choices, told)

    def rest(self) -> bool:
        """The technique has yielded a state: do what is due. True where the run leaves its worker."""
        before, step = self._rested, self._recorder.step
        if step <= before:
            return False
        self._rested = step
        planned = [update for update in self._plan if before < update.step <= step]
        if planned:
            self._change(planned, step, self._note)
        elif self._asked:
            self._asking = self._asked.popleft()
            self._change([Update(self._asking.params, step)], step, self._answer)
        elif (down := self.wanted_down) or self._is_due():  # looked at once: it may be set at any moment
            return self._keep(step, down=down) and down
        return False

    def end(self) -> None:
        """Answer whoever still wants something of the run: it is off the worker."""
        if self._asking is not None:
            self._asked.appendleft(self._asking)
            self._asking = None
        while self._asked:
            self._send(Reply(self._asked.popleft().request, error=MOVED))

    def _with(self, params: Mapping[str, Any], updates: Iterable[Update]) -> dict[str, Any]:
        changed = dict(params)
        for update in updates:
            changed |= update.params
        return changed

    def _change(self, updates: Sequence[Update], step: int, answer: Callable[[TechniqueError | None], None]) -> None:
        variants = _variants(updates)
        choices: list[Mapping[str, Any]] = [self._with(self._stepper.params, variant) for variant in variants]

        def told(refusal: TechniqueError | None, anew: bool) -> None:
            if anew:
                self._rested, self.updates = 0, self._from_the_beginning()
                self._plan = list(self.updates)  # else it would start anew at each of the later ones, for ever
                self._recorder.note("it starts from the beginning, since its state cannot be taken up again")
            elif held := self._with({}, variants[choices.index(self._stepper.params)]):
                self.updates.append(Update(held, step))
                if self._asking is not None:
                    self._plan = overruled(self._plan, self.updates[-1])
                self._plan.append(self.updates[-1])
                self._recorder.send(Updated(step, held))
            answer(refusal)

        if (saved := self._save()) is None:
            answer(NotApplicable("its technique has a state of which nothing can be kept, so it stays as it is"))
        else:
            self._go_on(saved, choices, told)

    def _go_on(self, saved: Saved, choices: Sequence[Mapping[str, Any]], told: Told) -> None:
        self._stepper.go_on(saved, choices, self._with(self._spec.params, self._from_the_beginning()), told)

    def _from_the_beginning(self) -> list[Update]:
        return [update for update in self._plan if update.step <= 0]

    def _answer(self, refusal: TechniqueError | None) -> None:
        asked, self._asking = self._asking, None
        if asked is not None:  # else it has been told that the run is off
            error = None if refusal is None else error_of(refusal)
            self._recorder.say(Reply(asked.request, done=error is None, error=error))

    def _note(self, refusal: TechniqueError | None) -> None:
        if refusal is not None:
            self._recorder.note(_refused(refusal))

    def _is_due(self) -> bool:
        if not self._every or (self._writing is not None and not self._writing.done()):
            return False
        return time.monotonic() - self._kept_at >= max(self._every, _WORTH * self._cost)

    def _keep(self, step: int, *, down: bool) -> bool:
        """Keep a checkpoint; whether that went well, as far as is known by now."""
        began = time.monotonic()
        saved = self._save()
        kept = saved is not None
        if saved is not None:
            made_by = self._made_by()
            self._writing = self._recorder.keep(lambda told: self._written(Checkpoint(step, made_by, told, saved)))
            kept = self._writing.result() if down else True
        self._kept_at = time.monotonic()
        self._cost = self._kept_at - began
        if not kept and down:
            self.wanted_down = False
            self._send(Suspended(self._spec.id, left=False))
        return kept

    def _save(self) -> Saved | None:
        try:
            return self._stepper.run.memory.save()
        except Exception as error:  # noqa: BLE001 - the technique's bug, or no memory: it goes on as if nobody had looked
            logger.warning("run %s keeps no checkpoints: %r", self._spec.id, error)
            self._every = 0
            return None

    def _written(self, checkpoint: Checkpoint) -> str:
        try:
            return self._put(checkpoint)
        except Exception as error:  # noqa: BLE001 - no room, or the technique's numbers and depths that JSON cannot have
            logger.warning("run %s: its checkpoint was not kept: %r", self._spec.id, error)
            return ""


def _variants(updates: Sequence[Update]) -> list[Sequence[Update]]:
    """All of some changes, all but one of them, where they are few, and none."""
    few = range(len(updates) - 1, -1, -1) if 1 < len(updates) <= _FEW else ()
    return [updates, *([*updates[:i], *updates[i + 1 :]] for i in few), ()]


def _refused(refusal: TechniqueError) -> str:
    return f"the change of its parameters is refused, and it goes on as it was: {refusal}"
