from __future__ import annotations

import numpy as np

from convscope_techniques.embedding.thumbnails import grid_of, resized, scatter_of

COLOURS = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
PICTURES = np.broadcast_to(COLOURS[:, None, None], (3, 16, 16, 3)).copy()


def test_pictures_lie_at_their_places_the_first_axis_to_the_right_and_the_second_downwards() -> None:
    canvas = scatter_of(np.array([[0.0, 0.0], [5.0, 0.0], [5.0, 5.0]]), PICTURES, 100)
    assert canvas.shape == (3, 100, 100)
    np.testing.assert_array_equal(canvas[:, 2, 2], COLOURS[0])
    np.testing.assert_array_equal(canvas[:, 2, 97], COLOURS[1])
    np.testing.assert_array_equal(canvas[:, 97, 97], COLOURS[2])
    np.testing.assert_array_equal(canvas[:, 97, 2], 255)


def test_a_flat_layout_lies_in_the_middle_and_keeps_its_proportions() -> None:
    canvas = scatter_of(np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]), PICTURES, 100)
    rows = np.flatnonzero((canvas != 255).any((0, 2)))
    assert abs(rows.mean() - 49.5) <= 1
    one = scatter_of(np.zeros((1, 2)), PICTURES[:1], 100)
    np.testing.assert_array_equal(one[:, 50, 50], COLOURS[0])


def test_each_cell_holds_its_picture_and_empty_cells_are_white() -> None:
    sheet = grid_of(np.array([[2, 0], [-1, 1]]), PICTURES)
    assert sheet.shape == (3, 32, 32)
    np.testing.assert_array_equal(sheet[:, 8, 8], COLOURS[2])
    np.testing.assert_array_equal(sheet[:, 8, 24], COLOURS[0])
    np.testing.assert_array_equal(sheet[:, 24, 8], 255)
    np.testing.assert_array_equal(sheet[:, 24, 24], COLOURS[1])


def test_a_large_grid_stays_within_a_sheet() -> None:
    sheet = grid_of(np.zeros((300, 2), np.intp), PICTURES)
    assert max(sheet.shape) <= 4096
    assert resized(PICTURES, 4).shape == (3, 4, 4, 3)
