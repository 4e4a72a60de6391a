"""What a run makes for the catalog: the names that it has claimed, the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convscope_sdk.events import Checkpoint, Table, TrainedModel
from convscope_sdk.training import TrainingParams
from convscope_server.engine.messages import RunSpec

if TYPE_CHECKING:
    from convscope_sdk.params import Params
    from convscope_server.models.shelf import Claim, Shelf

__all__ = ["Making"]


class Making:
    """Puts the models and checkpoints of one run where they are kept.

    Args:
        shelf: Where that is.
        spec: The run.
        changed: Called when the catalog has a new model.
    """

    def __init__(self, shelf: Shelf, spec: RunSpec, changed: Callable[[], None]) -> None:
        self._shelf = shelf
        self._spec = spec
        self._changed = changed
        self._claims: dict[str, Claim] = {}

    def begin(self, params: Params) -> None:
        """Claim the name of the model to be.

        Raises:
            TechniqueError: the name is taken.
        """
        if isinstance(params, TrainingParams):
            self._claim(params.name, replace=params.overwrite or params.resume == params.name)

    def earlier(self, params: Params) -> Checkpoint | None:
        """The training that a run goes on with which begins: what it left itself, or what it resumes.

        Raises:
            TechniqueError: there is nothing to resume.
        """
        if not isinstance(params, TrainingParams):
            return None
        own = self._shelf.own_checkpoint(self._claim(params.name)) if self._spec.attempt > 1 else None
        return own or (self._shelf.checkpoint(params.resume) if params.resume else None)

    def keep(self, event: object) -> tuple[object, ...]:
        """Keep what belongs into the catalog; gives what belongs into the run's log.

        Raises:
            TechniqueError: the model cannot be used, or its name is taken.
        """
        match event:
            case Checkpoint(name=name):
                self._shelf.put_checkpoint(self._claim(name), event)
                return ()
            case TrainedModel(name=name):
                return (self._model(event, self._claim(name)),)
        return (event,)

    def release(self) -> None:
        """Let others have the names. Twice is fine."""
        for claim in self._claims.values():
            claim.release()

    def _claim(self, name: str, *, replace: bool = False) -> Claim:
        if name not in self._claims:
            self._claims[name] = self._shelf.claim(name, run=self._spec.id, replace=replace)
        return self._claims[name]

    def _model(self, model: TrainedModel, claim: Claim) -> Table:
        spec = self._spec
        facts: dict[str, Any] = {"technique": spec.technique, "run": spec.id, "seed": str(spec.seed)}
        row = self._shelf.put(claim, model, facts)
        self._changed()
        return Table("model", [row], f"model {claim.name} is in the catalog")
