"""One unit on one page, as OpenAI Microscope had it (Olah et al. 2020; Bau et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, Image, ImageGrid, Note, Progress, Scores, Table, Tensor
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.target import TargetField
from convscope_sdk.technique import technique
from convscope_techniques.units.correlation import by_class, by_label
from convscope_techniques.units.excitation import Excitation, strongest
from convscope_techniques.units.maximal_patches import unit_asked
from convscope_techniques.units.unit_page import histogram_picture, unit_page
from convscope_techniques.units.visualized import visualized

__all__ = ["DissectParams", "dissect"]

_BINS = 40
_SHOWN = 8


class DissectParams(Params):
    """Parameters of `dissect`."""

    image_set: str = Field("samples", description="The image set that the unit is tried on.")
    target: TargetField | None = Field(
        None,
        description="A channel `blocks.4:17`, a neuron `blocks.4:17@3,3` or a class; a middle layer's channel 0 else.",
    )
    k: int = Field(9, ge=1, le=100, description="Patches, each of another picture; nine are on the page.")
    steps: int = Field(256, ge=1, le=100_000, description="Steps of the feature visualisation.")
    size: int = Field(128, ge=16, le=1024, description="Edge of the feature visualisation in pixels.")
    label: str | None = Field(None, description="Label column of the set; its first where absent.")
    preview_every: int = Field(16, ge=1, le=100_000, description="Show the visualisation every so many steps.")


@technique(
    "dissect",
    needs={"image_set", "gradients"},
    cites="Olah et al. 2020, doi:10.23915/distill.00024; Bau et al. 2017, arXiv:1704.05796",
    stall_seconds=300,
    resumable=True,
    steers={"steps", "preview_every"},
)
def dissect(run: Run[DissectParams]) -> Iterator[Event]:
    """One unit on one page: what excites it, what is made for it, how often it answers what, and for which classes.

    Picture `page` has all of it; `patches`, `feature_visualization` and `histogram` have its parts by themselves.
    Tensor `answers` is what the unit answers to each picture of the set, over a channel's positions the greatest.
    Table `classes` has Pearson's correlation of these with the logit of every class, over the set; `labels` has
    those of the set's labels, with the mean answer to their pictures. A correlation is what goes together here, with
    these pictures, and no cause.
    """
    params = run.params
    target = unit_asked(run, params.target)
    if target.kind == "layer":
        text = f"{target} is a whole layer: name a channel of it, such as {target}:0; maximal_patches has a sheet of it"
        raise InvalidParams(text, violations=[FieldViolation("params.target", text)])
    image_set = run.image_set(params.image_set)
    image_set.labels(params.label)
    also = ("logits",) if "logits" in run.network.aliases else ()
    k = min(params.k, len(image_set))
    found = yield from strongest(run, image_set, target, k, also=also, further_steps=params.steps)
    total = found.steps + params.steps
    yield Note(f"dissects {found.name}, tried on {len(found.index)} pictures")
    made = yield from visualized(
        run, done=found.steps, total=total, target=str(target), steps=params.steps, size=params.size,
        preview_every=params.preview_every,
    )  # fmt: skip
    yield Progress(total, total)
    yield from _parts(found, made, params)
    classes = _classes(found) if also else []
    labels = _labels(found, params.label)
    page = unit_page(
        f"{found.name} of {run.network.name}, on image set {image_set.name}",
        visualization=made,
        patches=found.patches(),
        captions=found.captions(params.label),
        answers=found.answers,
        words=_words(classes, labels),
    )
    yield Image("page", np.asarray(page).transpose(2, 0, 1), caption=f"{found.name} on one page")
    yield from _report(found, classes, labels)


def _parts(found: Excitation, made: Any, params: DissectParams) -> Iterator[Event]:
    captions = found.captions(params.label)
    yield ImageGrid("patches", found.patches(), labels=captions, caption=f"what excites {found.name} most")
    yield Table("patches", found.rows(params.label), caption="pixels of the network's input")
    yield Image("feature_visualization", made, caption=f"what {found.name} looks for")
    drawn = np.asarray(histogram_picture(found.answers)).transpose(2, 0, 1)
    yield Image("histogram", drawn, caption=f"how many pictures {found.name} answers what to")
    yield Tensor("answers", found.answers, caption=f"what {found.name} answers to each picture of the set")
    counts, edges = np.histogram(found.answers, _BINS)
    rows = zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
    yield Table("histogram", [{"from": low, "to": high, "pictures": count} for low, high, count in rows])


def _classes(found: Excitation) -> list[dict[str, Any]]:
    """Every class, the one that goes along with the unit most first."""
    network = found.index.image_set.network
    correlations = by_class(found.answers, np.asarray(found.index.logits()))
    order = np.argsort(-correlations, kind="stable").tolist()
    return [{"class": i, "label": network.label(i), "correlation": float(correlations[i])} for i in order]


def _labels(found: Excitation, column: str | None) -> list[dict[str, Any]]:
    labels = found.index.labels(column)
    return by_label(found.answers, labels) if any(labels) else []


def _words(classes: Sequence[dict[str, Any]], labels: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    lists = {"classes it goes along with": classes, "labels of the set": labels}
    return [
        (heading, [f"{row['correlation']:+.2f}  {row['label']}" for row in rows[:_SHOWN]])
        for heading, rows in lists.items()
        if rows
    ]


def _report(found: Excitation, classes: Sequence[dict[str, Any]], labels: Sequence[dict[str, Any]]) -> Iterator[Event]:
    answers = found.answers
    if classes:
        yield Table("classes", classes, caption="correlation with the logit over the set")
    if labels:
        yield Table("labels", labels, caption="mean answer, and correlation with having the label")
    if not np.ptp(answers):
        yield Note(f"{found.name} answers {answers[0]:.3g} to every picture, so nothing goes along with it")
    yield Scores(
        {"greatest": float(answers.max()), "mean": float(answers.mean()), "active": float((answers > 0).mean())}
    )
