"""What the score loses where a window hides the picture (Zeiler & Fergus 2014)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator

from convscope_sdk.errors import FieldViolation, InvalidParams
from convscope_sdk.events import Event, Heatmap, Preview, Progress, Scores, Tensor
from convscope_sdk.network import Network
from convscope_sdk.run import Run
from convscope_sdk.target import Target
from convscope_techniques.attribution.attribution import Found, Reporting, attribution
from convscope_techniques.attribution.baseline import BASELINE_HELP, Baseline, baseline_of
from convscope_techniques.attribution.batches import BATCH_HELP, BatchField, batch_size
from convscope_techniques.attribution.explained import Explained, explain
from convscope_techniques.attribution.local_pass import LocalPass
from convscope_techniques.attribution.params import AttributionParams
from convscope_techniques.attribution.windows import Windows
from convscope_techniques.layout import for_convolutions

__all__ = ["OcclusionParams", "occlusion"]


class OcclusionParams(AttributionParams):
    """Parameters of `occlusion`."""

    window: int = Field(32, ge=1, le=1024, description="Edge of the square window that hides the picture, pixels.")
    stride: int = Field(16, ge=1, le=1024, description="Pixels from one window to the next; at most `window`.")
    baseline: Baseline = Field("grey", description=BASELINE_HELP)
    output: Literal["attribution", "probability_map"] = Field(
        "attribution",
        description=(
            "What is drawn as `occlusion`: the mean drop of the score over the windows that cover a pixel, or "
            "the mean probability that is left (Zeiler & Fergus). Both come as tensors."
        ),
    )
    batch: BatchField = Field(None, description=BATCH_HELP)

    @model_validator(mode="after")
    def _windows_leave_no_gap(self) -> Self:
        if self.stride > self.window:
            raise ValueError(f"stride {self.stride} leaves pixels uncovered: take at most window, {self.window}")
        return self


@attribution("occlusion", needs={"image", "classes"}, cites="Zeiler & Fergus 2014, arXiv:1311.2901")
def occlusion(run: Run[OcclusionParams]) -> Reporting:
    """Which parts the network cannot do without: the score's drop as a window slides over the picture.

    A window stands at every multiple of `stride`, ceil((edge - window) / stride) + 1 along each edge, the last
    cut at the border. Tensor `attribution`, (H, W), is the mean of f(x) - f(occluded x) over the windows that
    cover a pixel; tensor `probability_map`, (ny, nx), the probability of the target class that each leaves.
    """
    params, image = run.params, run.image
    height, width = image.shape[-2:]
    _check(params, height, width)
    with torch.no_grad():
        explained = explain(run.network, image, params.target)
        baseline = baseline_of(params.baseline, run.network, image)
    yield from explained.events(run.network)
    windows = Windows.over(height, width, params.window, params.stride, device=image.device)
    occluded = _Occluded.of(run, windows, baseline, explained.target)
    part = 0.5 if occluded.local is None else 1
    batch = params.batch or batch_size(run.network, image, part=part)
    with run.state("occlusion", measured=image.new_zeros((0, 2)), batch=batch) as state:
        while (done := len(state.measured)) < len(windows):
            found = occluded.measured(done, done + run.inner_batch(state.batch))
            state.measured = measured = torch.cat([state.measured, found])
            yield Progress(len(measured), len(windows), {"lowest_score": float(measured[:, 0].min())})
            yield Preview(_map(params, windows, explained, measured), caption="so far", heatmap=True)
            yield state
    yield from _results(params, windows, explained, state.measured)
    return Found(windows.spread(explained.score - state.measured[:, 0]), explained.target, state.batch)


def _check(params: OcclusionParams, height: int, width: int) -> None:
    if params.output == "probability_map" and not params.target.is_class:
        violation = FieldViolation("params.output", f"{params.target} has no probability; take output=attribution")
        raise InvalidParams(violation.description, violations=[violation])
    if params.window >= max(height, width):
        edge = max(min(height, width) // 4, 1)
        violation = FieldViolation(
            "params.window",
            f"{params.window} hides the whole {height}x{width} picture at once: the map would have no "
            f"positions; take window={edge}, stride={max(edge // 2, 1)}, or a larger size",
        )
        raise InvalidParams(violation.description, violations=[violation])


@dataclass(frozen=True, slots=True)
class _Occluded:
    """The picture behind each of the windows, and what the network makes of it."""

    network: Network
    image: torch.Tensor
    windows: Windows
    baseline: torch.Tensor
    target: Target
    local: LocalPass | None = None

    @classmethod
    def of(cls, run: Run[OcclusionParams], windows: Windows, baseline: torch.Tensor, target: Target) -> _Occluded:
        """With a local pass where the network has one, tried on the window in the middle and on the last."""
        whole = cls(run.network, run.image, windows, baseline, target)
        tried = (len(windows) // 2, len(windows) - 1)
        if not target.is_class or len(windows) <= len(tried):
            return whole
        pixels = torch.cat([whole.pictures(n, n + 1) for n in tried])
        boxes = [box for n in tried for box in windows.boxes(n, n + 1)]
        return replace(whole, local=LocalPass.around(run.network, run.image, run.params.window, pixels, boxes))

    def pictures(self, start: int, stop: int) -> torch.Tensor:
        """(B, 3, H, W) behind the windows `start` to `stop`."""
        return torch.where(self.windows.masks(start, stop), self.baseline, self.image)

    @torch.no_grad()
    def measured(self, start: int, stop: int) -> torch.Tensor:
        """(B, 2) scores and probabilities; the probability of a unit inside the network is NaN."""
        pixels = self.pictures(start, stop)
        if not self.target.is_class:
            score = self.network.score(for_convolutions(pixels), self.target)
            return torch.stack([score, torch.full_like(score, torch.nan)], 1)
        boxes = self.windows.boxes(start, stop)
        local = self.local
        logits = local.logits(pixels, boxes) if local else self.network.logits(for_convolutions(pixels))
        score = self.network.target_value(self.target, logits=logits)
        return torch.stack([score, logits.softmax(1)[:, self.target.index]], 1)


def _map(params: OcclusionParams, windows: Windows, explained: Explained, measured: torch.Tensor) -> torch.Tensor:
    if params.output == "attribution":
        return windows.spread(explained.score - measured[:, 0])
    return windows.spread(measured[:, 1])


def _results(
    params: OcclusionParams, windows: Windows, explained: Explained, measured: torch.Tensor
) -> Iterator[Event]:
    signed = params.output == "attribution"
    what = f"drop of {explained.target}" if signed else f"probability left to {explained.target}"
    caption = f"{what} where a {params.window} px window of {params.baseline} hides the picture"
    yield Heatmap("occlusion", _map(params, windows, explained, measured), signed=signed, caption=caption)
    attribution = windows.spread(explained.score - measured[:, 0])
    yield Tensor("attribution", attribution, caption="mean drop of the score over the windows that cover a pixel")
    scores = {"windows": float(len(windows)), "largest_drop": float((explained.score - measured[:, 0]).max())}
    if explained.target.is_class:
        probability = measured[:, 1].view(windows.grid)
        yield Tensor("probability_map", probability, caption="probability of the class by the window's position")
        scores["lowest_probability"] = float(probability.min())
    yield Scores(scores)
