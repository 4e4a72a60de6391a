"""What every test runs under."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow now and then; that is no finding.
settings.register_profile("convscope", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("convscope")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` skip by themselves where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
