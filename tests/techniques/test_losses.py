from __future__ import annotations

from convscope_techniques.training.losses import Losses


def test_rows_come_back_with_whole_numbers_as_such() -> None:
    losses, other = Losses(), Losses()
    losses.rows += [{"step": 1, "image": 0.1}, {"step": 2, "image": float("inf")}]
    other.load_state_dict(losses.state_dict())
    assert repr(other.rows) == repr(losses.rows)


def test_no_rows_are_none_again() -> None:
    other = Losses()
    other.load_state_dict(Losses().state_dict())
    assert other.rows == []
