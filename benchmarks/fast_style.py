"""What it takes to paint a picture in a style that was learned, and how much less than optimising it."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.harness import photograph
from benchmarks.inprocess import default_network
from benchmarks.result import Measure, Result, median

from convscope_sdk.events import Event, Progress
from convscope_sdk.network import Network
from convscope_techniques import convscope_model_sources
from convscope_techniques.texture.fast_style_transfer import fast_style_transfer
from convscope_techniques.texture.style_transfer import style_transfer

SIZE = 512
BOUND_SECONDS = 1.0
BOUND_RATIO = 0.6


def run(*, quick: bool = False) -> Result:
    """Seconds for 512 px by the painter that ships, and the same over one step of `style_transfer`."""
    repetitions = 3 if quick else 10
    painter, network = _painter(), default_network()
    whole = [
        _timed(lambda: list(fast_style_transfer.run(painter, photograph(), size=SIZE))) for _ in range(repetitions)
    ]
    steps = style_transfer.run(
        network, photograph(), extra_images={"style": photograph()}, size=SIZE, steps=repetitions + 2
    )
    optimised = [_timed(lambda: _step(steps)) for _ in range(repetitions + 1)][1:]
    seconds, step = median(whole[1:]), median(optimised)
    measures = (
        Measure("seconds for a picture of 512 px", seconds, BOUND_SECONDS, "s"),
        Measure("a painting / one step of style_transfer", seconds / step, BOUND_RATIO),
    )
    return Result("fast_style", measures, {"painting": seconds, "step of style_transfer": step})


def _painter() -> Network:
    """The painter that comes with the techniques."""
    (source,) = convscope_model_sources()
    spec = source.spec("strokes")
    assert spec is not None
    return Network(spec.build(), spec)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _step(events: object) -> Event:
    assert hasattr(events, "__next__")
    while not isinstance(event := next(events), Progress):
        pass
    return event
