"""What a technique yields that is no event."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from convscope_sdk.events import Event
from convscope_sdk.params import Params
from convscope_sdk.run import Run
from convscope_sdk.technique import technique
from support.workshop import Bench


@technique("array")
def array(run: Run[Params]) -> Iterator[Event]:
    """Yields what is no event, and compares with nothing."""
    yield np.zeros(3)  # type: ignore[misc]  # that is the point


def test_an_array_in_the_place_of_an_event_is_told_to_be_none(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(array)
    bench.start("a", "array")
    bench.work()
    assert bench.error("a").reason == "TECHNIQUE_FAILED"
    assert "a technique yields events of convscope_sdk, not ndarray" in caplog.text
