"""A feature visualisation within another technique."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convscope_sdk.events import Event, Image, Preview, Progress
from convscope_sdk.run import Run
from convscope_sdk.state import State
from convscope_techniques.synthesis.feature_visualization import FeatureVisualizationParams, feature_visualization

__all__ = ["visualized"]


def visualized(
    run: Run[Any], *, done: int, total: int, previews: bool = True, **params: Any
) -> Generator[Event, None, Tensor]:
    """(3, H, W) what `feature_visualization` makes with those parameters; its steps are yielded as some of a run's.

    Args:
        run: Whose network it is made for.
        done: Steps of the run before.
        total: Steps of the run.
        previews: Also show it as it forms.
        **params: Of `feature_visualization`.
    """
    inner = replace(run, params=FeatureVisualizationParams.parse(params), image=torch.empty(0, 3, 0, 0))
    made = torch.empty(0)
    for event in feature_visualization.function(inner):
        if isinstance(event, Progress):
            yield Progress(done + event.step, total, event.metrics)
        elif isinstance(event, State) or (isinstance(event, Preview) and previews):
            yield event
        elif isinstance(event, Image):
            made = event.image
    return made[0] if made.ndim == 4 else made  # noqa: PLR2004 - a batch of one
