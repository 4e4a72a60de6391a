"""What scores=full says about a map."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from convscope_sdk.events import Event, Image, Note, Progress, Scores, Table
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_sdk.target import Target, target_field
from convscope_techniques.attribution.baseline import baseline_of, blurred
from convscope_techniques.attribution.curve_picture import curve_picture
from convscope_techniques.attribution.faithfulness import STEPS, Curve, confidence, curve, curve_passes, kept
from convscope_techniques.attribution.params import ScoredParams
from convscope_techniques.attribution.randomisation import Likeness, stage_count, stages

__all__ = ["Remade", "Scorecard"]

P = TypeVar("P", bound=ScoredParams)

Remade = Callable[[Network], Generator[Event, None, Tensor]]
"""The events of explaining the same picture by another network, and the map."""

_BLUR_SIGMA = 5.0  # of the picture that insertion begins with
_STILL_THE_SAME = 0.5


@dataclass(frozen=True, slots=True)
class Scorecard(Generic[P]):
    """Deletion and insertion, confidence under the map as a mask, and the randomisation check of a map.

    Attributes:
        run: Of the map.
        batch: Pictures that deletion and insertion send through the network at once.
    """

    run: Run[P]
    batch: int

    @property
    def steps(self) -> int:
        """How many it takes: its progress goes up to this."""
        return 1 + 2 * curve_passes(self.run.image, self.batch) + stage_count(self.run.network)

    def events(self, values: Tensor, target: Target | None, remade: Remade) -> Iterator[Event]:
        """What it says about a map, (H, W); one of no target is measured by the picture's top class."""
        run, network = self.run, self.run.network
        if network.spec.kind != "classifier":
            yield Note(f"{network.name} is no classifier: there is no score to measure the map by")
            yield Progress(self.steps, self.steps)
            return
        with torch.no_grad():
            target = network.resolve(target or target_field("top1"), run.image)
            whole = float(confidence(network, run.image, target))
        yield Progress(1, self.steps, {"confidence": whole})
        with run.state("scorecard", curves={}, stages=[]) as state:
            if not state.stages:  # else it was said before
                yield from self._faithfulness(state, values, target, whole)
            if stage_count(network):
                yield from self._randomisation(state, values, remade)
            else:
                yield Note(f"{network.name} has no weights: there is nothing that it could forget")
                yield Progress(self.steps, self.steps)

    def _faithfulness(self, state: State, values: Tensor, target: Target, whole: float) -> Iterator[Event]:
        if whole == 0:
            yield Note(f"{target} is 0 for this picture: deletion, insertion and drop are not defined")
            return
        network, image = self.run.network, self.run.image
        unit = 1.0 if target.is_class else abs(whole)
        mean, blur = baseline_of("mean", network, image).expand_as(image), blurred(image, _BLUR_SIGMA)
        for name, start, end in (("deletion", image, mean), ("insertion", blur, image)):
            known = state.curves.get(name)
            for found in curve(network, start, end, values, target, batch=self.batch, known=known):
                state.curves = {**state.curves, name: found.values}
                done = 1 + sum(-(-len(each) // self.batch) for each in state.curves.values())
                yield Progress(done, self.steps, {name: float(found.values[-1]) / unit})
                yield state
        curves = {name: Curve.over(image, found) for name, found in state.curves.items()}
        with torch.no_grad():
            left = float(confidence(network, kept(image, mean, values), target))
        drop = {"average_drop": max(whole - left, 0.0) / abs(whole), "confidence_increase": float(left > whole)}
        yield Scores({**{f"{name}_auc": found.area / unit for name, found in curves.items()}, **drop})
        caption = "confidence while pixels are exchanged, highest first"
        yield Table("faithfulness", _rows(curves, unit), caption=caption)
        yield Image("faithfulness", np.asarray(curve_picture(curves, unit)).transpose(2, 0, 1), caption=caption)
        parts = (
            "" if target.is_class else f"; {target} has no probability: its value in parts of the picture's stands in"
        )
        yield Note(
            f"deletion puts the mean colour in place of pixels, insertion begins with the picture under a Gaussian of "
            f"{_BLUR_SIGMA:g} px, {STEPS} steps each; for the drop, the map is a mask over the mean colour{parts}"
        )

    def _randomisation(self, state: State, values: Tensor, remade: Remade) -> Iterator[Event]:
        network, seed = self.run.network, self.run.seed
        before = self.steps - stage_count(network)
        for stage in itertools.islice(stages(network, seed), len(state.stages), None):
            torch.manual_seed(seed)  # the same noise as for the map itself
            found = yield from _only_steps(remade(stage.network), Progress(before + len(state.stages), self.steps))
            likeness = Likeness.of(values, found)._asdict()
            state.stages = [*state.stages, {"layers": stage.layers, "down_to": stage.last, **likeness}]
            yield Progress(before + len(state.stages), self.steps, likeness)
            yield state
        yield from _verdict(state.stages)


def _rows(curves: Mapping[str, Curve], unit: float) -> list[dict[str, float]]:
    fractions = next(iter(curves.values())).fractions.tolist()
    columns = [(found.values / unit).tolist() for found in curves.values()]
    return [dict(zip(("fraction", *curves), row, strict=True)) for row in zip(fractions, *columns, strict=True)]


def _verdict(rows: list[dict[str, Any]]) -> Iterator[Event]:
    """What the likenesses of all stages together say."""
    likenesses = [Likeness(row["spearman"], row["ssim"]) for row in rows]
    first, last = likenesses[0].spearman, likenesses[-1].spearman
    mean = Likeness(*(sum(column) / len(likenesses) for column in zip(*likenesses, strict=True)))
    yield Scores({"mprt_spearman": mean.spearman, "mprt_ssim": mean.ssim, "mprt_spearman_end": last})
    yield Table("randomisation", rows, caption="how like the map stays as layers forget, from the output to the input")
    if mean.spearman > _STILL_THE_SAME:
        yield Note(
            f"the map hardly depends on what the network has learned: its rank correlation with itself is {first:.2f} "
            f"without the weights of the last layer, {last:.2f} without any, {mean.spearman:.2f} on the way; it shows "
            f"the picture more than the network's reasons"
        )


def _only_steps(events: Generator[Event, None, Tensor], step: Progress) -> Generator[Event, None, Tensor]:
    """The map in the end; on the way, at each of its own steps, the one given, so that others get their turn."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return cast("Tensor", end.value)
        if isinstance(event, Progress):
            yield step
