from __future__ import annotations

from convscope_server.allowance import Allowance


def test_a_burst_passes_and_then_only_what_comes_back() -> None:
    now = 0.0
    allowance = Allowance(10, 2, lambda: now)
    assert allowance.take(10)
    assert not allowance.take()
    now = 1.0
    assert allowance.take(2)
    assert not allowance.take()
    now = 100.0
    assert not allowance.take(11)
    assert allowance.take(10)
