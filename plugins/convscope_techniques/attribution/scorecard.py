"""What scores=full says about a map."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from convscope_sdk.events import Event, Image, Note, Progress, Scores, Table
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target, target_field
from convscope_techniques.attribution.baseline import baseline_of, blurred
from convscope_techniques.attribution.curve_picture import curve_picture
from convscope_techniques.attribution.faithfulness import STEPS, Curve, confidence, curve, curve_passes, kept
from convscope_techniques.attribution.params import ScoredParams
from convscope_techniques.attribution.randomisation import Likeness, stage_count, stages

__all__ = ["Remade", "scorecard", "scorecard_steps"]

P = TypeVar("P", bound=ScoredParams)

Remade = Callable[[Network], Generator[Event, None, Tensor]]
"""The events of explaining the same picture by another network, and the map."""

_BLUR_SIGMA = 5.0  # of the picture that insertion begins with
_STILL_THE_SAME = 0.5


def scorecard_steps(run: Run[P]) -> int:
    """How many steps `scorecard` takes: its progress goes up to this."""
    return 1 + 2 * curve_passes(run.network, run.image) + stage_count(run.network)


def scorecard(run: Run[P], values: Tensor, target: Target | None, remade: Remade) -> Iterator[Event]:
    """Deletion and insertion, confidence under the map as a mask, and the randomisation check of a map, (H, W).

    A map of no target is measured by the picture's top class.
    """
    if run.network.spec.kind != "classifier":
        yield Note(f"{run.network.name} is no classifier: there is no score to measure the map by")
        yield Progress(scorecard_steps(run), scorecard_steps(run))
        return
    with torch.no_grad():
        target = run.network.resolve(target or target_field("top1"), run.image)
        whole = float(confidence(run.network, run.image, target))
    yield Progress(1, scorecard_steps(run), {"confidence": whole})
    if whole == 0:
        yield Note(f"{target} is 0 for this picture: deletion, insertion and drop are not defined")
    else:
        yield from _faithfulness(run, values, target, whole)
    if stage_count(run.network):
        yield from _randomisation(run, values, remade)
    else:
        yield Note(f"{run.network.name} has no weights: there is nothing that it could forget")
        yield Progress(scorecard_steps(run), scorecard_steps(run))


def _faithfulness(run: Run[P], values: Tensor, target: Target, whole: float) -> Iterator[Event]:
    network, image = run.network, run.image
    unit = 1.0 if target.is_class else abs(whole)
    mean, blur = baseline_of("mean", network, image).expand_as(image), blurred(image, _BLUR_SIGMA)
    done, curves = 1, {}
    for name, start, end in (("deletion", image, mean), ("insertion", blur, image)):
        for curves[name] in curve(network, start, end, values, target):
            done += 1
            yield Progress(done, scorecard_steps(run), {name: float(curves[name].values[-1]) / unit})
    with torch.no_grad():
        left = float(confidence(network, kept(image, mean, values), target))
    drop = {"average_drop": max(whole - left, 0.0) / abs(whole), "confidence_increase": float(left > whole)}
    yield Scores({**{f"{name}_auc": found.area / unit for name, found in curves.items()}, **drop})
    caption = "confidence while pixels are exchanged, highest first"
    yield Table("faithfulness", _rows(curves, unit), caption=caption)
    yield Image("faithfulness", np.asarray(curve_picture(curves, unit)).transpose(2, 0, 1), caption=caption)
    parts = "" if target.is_class else f"; {target} has no probability: its value in parts of the picture's stands in"
    yield Note(
        f"deletion puts the mean colour in place of pixels, insertion begins with the picture under a Gaussian of "
        f"{_BLUR_SIGMA:g} px, {STEPS} steps each; for the drop, the map is a mask over the mean colour{parts}"
    )


def _rows(curves: Mapping[str, Curve], unit: float) -> list[dict[str, float]]:
    fractions = next(iter(curves.values())).fractions.tolist()
    columns = [(found.values / unit).tolist() for found in curves.values()]
    return [dict(zip(("fraction", *curves), row, strict=True)) for row in zip(fractions, *columns, strict=True)]


def _randomisation(run: Run[P], values: Tensor, remade: Remade) -> Iterator[Event]:
    total = scorecard_steps(run)
    done = total - stage_count(run.network)
    likenesses: list[Likeness] = []
    rows: list[dict[str, float | str]] = []
    for stage in stages(run.network, run.seed):
        torch.manual_seed(run.seed)  # the same noise as for the map itself
        found = yield from _only_steps(remade(stage.network), Progress(done, total))
        likenesses.append(Likeness.of(values, found))
        rows.append({"layers": stage.layers, "down_to": stage.last, **likenesses[-1]._asdict()})
        done += 1
        yield Progress(done, total, likenesses[-1]._asdict())
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
