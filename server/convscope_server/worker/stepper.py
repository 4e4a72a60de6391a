"""Steps a technique from its beginning, or from where a run of it was put down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from convscope_sdk.errors import TechniqueError
from convscope_sdk.isolation import RandomState
from convscope_sdk.state import Saved, StateMismatch

if TYPE_CHECKING:
    from PIL import Image

    from convscope_sdk.inprocess import Prepared
    from convscope_sdk.run import Run
    from convscope_sdk.technique import Technique

__all__ = ["END", "SILENCE", "Stepper", "Told"]

logger = logging.getLogger(__name__)

END = object()
"""The technique has ended."""
SILENCE = object()
"""A step whose event was told before the run was put down."""

Params = Mapping[str, Any]
Prepare = Callable[[Params, Saved | None, Callable[[], None]], "Prepared"]
Told = Callable[[TechniqueError | None, bool], None]
"""Called when a run is where it was, or at its beginning (True): with None, or why its first choice was refused."""


@dataclass(slots=True)
class _Return:
    """A way back to where the run was, with the first parameters of some that lead there, or to its beginning."""

    saved: Saved
    choices: list[Params]
    beginning: Params
    told: Told
    refusal: TechniqueError | None = None


@dataclass(slots=True)
class Stepper:
    """One technique at work. All its random numbers must be in place whenever it is called.

    Attributes:
        technique: Which.
        prepare: Makes the run of some parameters, from its beginning or from what was saved.
        random: The run's generators, which are set anew with each beginning.
        seed: What they begin with.
        params: Those that hold now.
        prepared: The run that is under way.
    """

    technique: Technique[Any]
    prepare: Prepare
    random: RandomState
    seed: int
    device: str
    params: Params = field(default_factory=dict)
    prepared: Prepared | None = None
    _generator: Generator[Any, Any, None] | None = None
    _return: _Return | None = None

    @property
    def run(self) -> Run[Any]:
        """What the technique was called with."""
        assert self.prepared is not None, "it has begun"
        return self.prepared.run

    @property
    def input(self) -> Image.Image | None:
        """The picture that the network sees."""
        return None if self.prepared is None else self.prepared.input

    @property
    def silent(self) -> bool:
        """Whether the run is on its way back to where it was."""
        return self.run.memory.pending

    def begin(self, params: Params) -> None:
        """Begin with these parameters.

        Raises:
            TechniqueError: the run is refused.
        """
        self._start(params, None)

    def go_on(self, saved: Saved, choices: Sequence[Params], beginning: Params, told: Told) -> None:
        """Go back to what was saved with the first parameters that the technique takes there, else to its beginning.

        Args:
            saved: Where it was.
            choices: Parameters to try, the best first.
            beginning: Those that it begins with.
            told: Called once it is there.

        Raises:
            TechniqueError: it cannot begin either.
        """
        self._return = _Return(saved, list(choices), beginning, told)
        self._try()

    def advance(self, answer: Any) -> object:
        """One step: what the technique yielded, `SILENCE`, or `END`.

        Raises:
            BaseException: whatever the technique raises.
        """
        assert self._generator is not None
        try:
            yielded = self._generator.send(answer)
        except StopIteration:
            if not self.silent:
                return END
            return self._refused(StateMismatch("it ended before it opened the states of its checkpoint"))
        except TechniqueError as error:
            if not self.silent:
                raise
            return self._refused(error)
        except Exception as error:
            if not (self.silent and self._return is not None and self._return.choices):
                raise
            logger.exception("%s fails with other parameters, and goes on as it was", self.technique.id)
            return self._refused(TechniqueError(f"with these parameters it fails: {type(error).__name__}"))
        return SILENCE if self.silent else yielded

    def close(self) -> None:
        """Run the technique's `finally` blocks.

        Raises:
            BaseException: whatever they raise.
        """
        generator, self._generator = self._generator, None
        if generator is not None:
            generator.close()

    def _start(self, params: Params, saved: Saved | None) -> None:
        self.close()
        self.random.load_state_dict(RandomState.seeded(self.seed, self.device).state_dict())
        self.prepared = self.prepare(params, saved, self._arrived)
        self.random.install()
        # Authors annotate an Iterator; the decorator has checked that it is a generator.
        self._generator = cast("Generator[Any, Any, None]", self.technique.function(self.run))
        self.params = params

    def _try(self) -> None:
        assert self._return is not None
        while self._return.choices:
            params = self._return.choices.pop(0)
            try:
                self._start(params, self._return.saved)
            except TechniqueError as error:
                self._return.refusal = self._return.refusal or error
            else:
                return
        way, self._return = self._return, None
        self._start(way.beginning, None)
        way.told(way.refusal, True)

    def _refused(self, error: TechniqueError) -> object:
        assert self._return is not None, "who is silent is on the way back"
        self._return.refusal = self._return.refusal or error
        self._try()
        return SILENCE

    def _arrived(self) -> None:
        way, self._return = self._return, None
        assert way is not None
        way.told(way.refusal, False)
