"""Curves are drawn where their values are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from convscope_techniques.attribution.curve_picture import curve_picture
from convscope_techniques.attribution.faithfulness import Curve

FRACTIONS = torch.linspace(0, 1, 57)
BLUE, ORANGE = (33, 102, 172), (214, 93, 51)


def drawn(curves: dict[str, Curve], unit: float = 1.0) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.asarray(curve_picture(curves, unit), dtype=np.int64)


def heights(picture: np.ndarray[tuple[int, ...], np.dtype[np.int64]], color: tuple[int, int, int]) -> list[float]:
    """Mean height from the bottom of the pixels of that colour, at nine places from left to right, below the names."""
    here = np.abs(picture - color).max(-1) < 40
    here[:30] = False
    return [float(len(here) - np.nonzero(here[:, x])[0].mean()) for x in range(60, 360, 36)]


@pytest.mark.parametrize("unit", [1.0, 7.0])
def test_deletion_falls_and_insertion_rises_between_the_axes(unit: float) -> None:
    falls, rises = Curve(FRACTIONS, unit * (1 - FRACTIONS)), Curve(FRACTIONS, unit * FRACTIONS)
    picture = drawn({"deletion": falls, "insertion": rises}, unit)
    blue, orange = heights(picture, BLUE), heights(picture, ORANGE)
    assert np.diff(blue) == pytest.approx(np.full(8, np.diff(blue).mean()), abs=1.5)
    assert np.diff(blue).mean() < -10
    assert np.diff(orange) == pytest.approx(-np.diff(blue), abs=2)


def test_the_unit_alone_changes_no_line() -> None:
    one, seven = (Curve(FRACTIONS, unit * FRACTIONS) for unit in (1.0, 7.0))
    assert (drawn({"insertion": one}) == drawn({"insertion": seven}, 7.0)).all()
    assert (drawn({"insertion": one}) != drawn({"insertion": seven})).any()


def test_probabilities_share_one_scale_and_values_beyond_it_are_drawn_too() -> None:
    low, high = (
        heights(drawn({"deletion": Curve(FRACTIONS, v * torch.ones_like(FRACTIONS))}), BLUE) for v in (0.2, 0.8)
    )
    assert high[0] - low[0] == pytest.approx(0.6 * (264 - 34 - 40), abs=2)
    assert len(heights(drawn({"deletion": Curve(FRACTIONS, 5 * FRACTIONS - 2)}), BLUE)) == 9


@pytest.mark.parametrize("value", [0.0, -2.0, 1.0])
def test_a_constant_curve_has_axes_too(value: float) -> None:
    picture = drawn({"deletion": Curve(FRACTIONS, torch.full_like(FRACTIONS, value))})
    assert len(set(np.round(heights(picture, BLUE)))) == 1
