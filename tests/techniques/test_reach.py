from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from convscope_techniques.attribution.reach import Reach

FIELDS = st.integers(1, 20).flatmap(
    lambda size: st.tuples(st.just(size), st.sampled_from([1, 2, 4, 8]), st.integers(1 - size, 0))
)


@st.composite
def windows_at_layers(draw: st.DrawFn) -> tuple[Reach, int, int]:
    """A reach, and the pixels of a window."""
    edge, field = draw(st.integers(8, 80)), draw(FIELDS)
    window = draw(st.integers(1, edge))
    positions = draw(st.integers(1, max((edge - 1 - field[2]) // field[1] + 1, 1)))
    start = draw(st.integers(0, edge - 1))
    return Reach.of(edge, positions, window, field), start, min(start + window, edge)


def box(reach: Reach, position: int) -> range:
    """The pixels that a position sees, those outside the picture left out."""
    begin = reach.offset + position * reach.stride
    return range(max(begin, 0), min(begin + reach.size, reach.edge))


@given(windows_at_layers())
def test_positions_that_see_a_window_are_those_whose_box_meets_it(case: tuple[Reach, int, int]) -> None:
    reach, start, stop = case
    met = [p for p in range(reach.positions) if set(box(reach, p)) & set(range(start, stop))]
    assert list(range(*reach.seeing(start, stop))) == met


@given(windows_at_layers())
def test_the_crop_holds_all_that_they_see_and_begins_and_ends_at_whole_strides(case: tuple[Reach, int, int]) -> None:
    reach, start, stop = case
    first, end = reach.seeing(start, stop)
    begin = reach.cut(first)
    assert begin % reach.stride == (reach.edge - reach.crop) % reach.stride == 0
    assert 0 <= begin <= begin + reach.crop <= reach.edge
    for position in range(first, end):
        seen = box(reach, position)
        assert begin <= seen.start
        assert seen.stop <= begin + reach.crop


def test_a_window_that_no_position_sees_has_none() -> None:
    reach = Reach.of(20, 5, 2, (1, 4, 0))  # every fourth pixel is seen
    assert reach.seeing(1, 3) == (1, 1)
