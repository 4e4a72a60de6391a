"""What every test runs under."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow now and then; that is no finding.
settings.register_profile("convscope", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("convscope")


_LONG = {
    "cuts": (60, "streams that a bad network cuts"),
    "requests": (400, "requests that fuzzing sends"),
    "seconds": (10, "how long chaos and soak last"),
    "clients": (4, "how many clients work meanwhile"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Sizes of the tests in `long`, short unless chosen otherwise."""
    for name, (default, meaning) in _LONG.items():
        parser.addoption(f"--{name}", type=int, default=default, help=f"tests/long: {meaning} ({default})")


@pytest.fixture(autouse=True, scope="module")
def _shared_networks_are_left_as_they_were(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that changes a network of the zoo fails others, far away; so its own module is told."""
    yield
    zoo = sys.modules.get("support.zoo")
    assert zoo is None or zoo.is_untouched(), f"{request.node.name} has changed `zoo.tiny()`: take one of your own"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` skip by themselves where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
