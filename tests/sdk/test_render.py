from __future__ import annotations

import dataclasses
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from convscope_sdk import Heatmap, Image, ImageGrid, Note, Preview, Table, Tensor, Text
from convscope_sdk.colormaps import DIVERGING, SEQUENTIAL, Colormap
from convscope_sdk.render import (
    Renderer,
    grid_picture,
    heatmap_picture,
    overlay_picture,
    preview_picture,
    render,
    to_picture,
)

LUMA = np.array([0.299, 0.587, 0.114])


def luma(picture: PILImage.Image) -> np.ndarray[Any, Any]:
    return np.asarray(np.asarray(picture, dtype=float) @ LUMA)


def bump(height: int = 60, width: int = 90) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[0:height, 0:width]
    return np.asarray(np.exp(-((x / width - 0.5) ** 2 + (y / height - 0.5) ** 2) * 20))


@pytest.fixture(scope="module")
def cat() -> PILImage.Image:
    return PILImage.fromarray(skimage.data.chelsea()).resize((90, 60))


# Colours.


@pytest.mark.parametrize("colormap", [SEQUENTIAL, DIVERGING], ids=lambda colormap: colormap.name)
def test_a_colormap_is_matplotlibs_to_the_eye(colormap: Colormap) -> None:
    values = np.arange(256) / 255
    theirs = mpl.colormaps[colormap.name](values)[:, :3] * 255
    assert np.abs(colormap(values) - theirs).max() <= 3


def test_colours_of_values_outside_are_those_of_the_ends() -> None:
    assert SEQUENTIAL(np.array([-1.0, 2.0])).tolist() == SEQUENTIAL(np.array([0.0, 1.0])).tolist()


def test_zero_is_white_in_the_middle_of_the_diverging_map() -> None:
    assert DIVERGING(np.array(0.5)).tolist() == [247, 247, 247]


# Pictures.


@settings(deadline=None)
@given(st.sampled_from([(3, 4, 5), (1, 3, 4, 5), (1, 4, 5), (4, 5)]), st.booleans(), st.booleans())
def test_every_form_of_picture_becomes_rgb(shape: tuple[int, ...], as_torch: bool, as_bytes: bool) -> None:
    levels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    values: Any = levels if as_bytes else levels / 255
    picture = np.asarray(to_picture(torch.from_numpy(values) if as_torch else values))
    expected = np.broadcast_to(levels.reshape(-1, 4, 5), (3, 4, 5)).transpose(1, 2, 0)
    assert (picture == expected).all()


def test_floats_are_clipped() -> None:
    assert np.asarray(to_picture(np.array([[-3.0, 0.5, 7.0]])))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("shape", [(2, 4, 5), (4, 5, 3), (2, 3, 4, 5), (5,), (3, 0, 4)])
def test_an_array_of_another_shape_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(3, H, W\)"):
        to_picture(np.zeros(shape))


def test_whole_numbers_are_no_picture_because_their_scale_is_unknown() -> None:
    with pytest.raises(ValueError, match="int64"):
        to_picture(np.zeros((4, 5), np.int64))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_values_that_cannot_be_drawn_are_named(value: float, word: str, cat: PILImage.Image) -> None:
    values = bump()
    values[3, 4] = value
    for draw in (to_picture, heatmap_picture, lambda v: overlay_picture(cat, v), lambda v: grid_picture([v])):
        with pytest.raises(ValueError, match=f"1 of 5400 values {word}"):
            draw(values)


# Heatmaps.


def test_a_small_map_is_enlarged_by_a_whole_factor_without_smoothing() -> None:
    values = np.random.default_rng(0).random((7, 5))
    drawn = heatmap_picture(values)
    assert drawn.width == 160
    expected = SEQUENTIAL((values - values.min()) / (values.max() - values.min()))
    assert (np.asarray(drawn)[:224, :160] == expected.repeat(32, 0).repeat(32, 1)).all()


def test_a_map_can_be_drawn_at_any_size() -> None:
    drawn = heatmap_picture(bump(), size=(300, 200))
    assert drawn.width == 300
    assert 200 < drawn.height < 240


def test_zero_is_the_middle_colour_of_a_signed_map() -> None:
    drawn = heatmap_picture(np.array([[-1.0, 0.0, 4.0]]), signed=True)
    width = drawn.width // 3
    assert drawn.getpixel((width + 5, 5)) == (247, 247, 247)
    assert drawn.getpixel((2 * width + 5, 5)) == tuple(DIVERGING(np.array(1.0)))
    assert drawn.getpixel((5, 5)) == tuple(DIVERGING(np.array(3 / 8)))


def test_the_legend_tells_maps_of_different_range_apart() -> None:
    one, ten, signed = heatmap_picture(bump()), heatmap_picture(10 * bump()), heatmap_picture(bump(), signed=True)
    top = one.height - 40
    assert one.crop((0, 0, one.width, top)) == ten.crop((0, 0, one.width, top))
    assert one.crop((0, top, one.width, one.height)) != ten.crop((0, top, one.width, one.height))
    assert one.height == signed.height


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.5, -0.5])
def test_a_constant_map_is_drawn_in_one_colour_on_a_scale_from_zero(value: float, signed: bool) -> None:
    drawn = np.asarray(heatmap_picture(np.full((8, 8), value), signed=signed))[:224]
    colormap, at = (DIVERGING, 0.5 + value) if signed else (SEQUENTIAL, float(value > 0))
    assert (drawn == colormap(np.array(at))).all()


def with_outliers(factor: float, count: int = 20) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(0).random((80, 90))
    values.ravel()[:count] = factor
    return values


@pytest.mark.parametrize("sign", [1, -1])
def test_a_few_outliers_do_not_leave_the_rest_without_colour(cat: PILImage.Image, sign: int) -> None:
    values, signed = sign * with_outliers(8.0), sign < 0
    low, high = render(Heatmap("m", values, signed=signed))[0].value_range or (0, 0)
    assert 0.98 < high < 1
    assert low == -high if signed else 0 <= low < 0.01
    drawn = np.asarray(heatmap_picture(values, signed=signed))[:240:3, :270:3]
    scaled = ((values - low) / (high - low)).clip(0, 1)
    assert (drawn == (DIVERGING if signed else SEQUENTIAL)(scaled)).all()
    over = [overlay_picture(cat.resize((90, 80)), v, signed=signed) for v in (values, values.clip(low, high))]
    assert over[0] == over[1]


def test_the_legend_says_where_values_lie_beyond_it() -> None:
    cut, whole = with_outliers(8.0), with_outliers(1.0)
    whole = whole.clip(whole.min(), heatmap_limits(cut)[1])
    assert heatmap_limits(whole) == heatmap_limits(cut)
    legends = [np.asarray(heatmap_picture(values))[240:] for values in (cut, whole)]
    assert (legends[0] != legends[1]).any()


@pytest.mark.parametrize(
    "values",
    [with_outliers(1.9), with_outliers(8.0, 200), with_outliers(1e4), np.eye(1, 49, 3).reshape(7, 7)],
    ids=["near", "many", "a spot", "few values"],
)
def test_what_is_no_handful_of_outliers_is_drawn_whole(values: np.ndarray[Any, Any]) -> None:
    assert heatmap_limits(values) == (values.min(), values.max())


def heatmap_limits(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    return render(Heatmap("m", values))[0].value_range or (0, 0)


def test_a_narrow_map_still_has_a_legend_that_can_be_read() -> None:
    assert heatmap_picture(np.random.default_rng(0).random((224, 4))).width >= 100


@pytest.mark.parametrize("values", [np.zeros((2, 3, 3)), np.zeros(3), np.zeros((0, 3)), np.zeros((2, 2), complex)])
def test_what_is_no_map_is_refused(values: Any) -> None:
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        heatmap_picture(values)


# Overlays.


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_keeps_the_brightness_of_every_pixel(cat: PILImage.Image, signed: bool) -> None:
    values = bump() - (0.5 if signed else 0)
    over = overlay_picture(cat, values, signed=signed)
    assert over.size == cat.size
    assert np.abs(luma(over) - luma(cat)).max() < 1


def test_an_overlay_is_coloured_where_the_map_is_high_and_grey_where_it_is_low(cat: PILImage.Image) -> None:
    over = np.asarray(overlay_picture(cat, bump()), dtype=int)
    color = over.max(-1) - over.min(-1)
    assert color[30, 45] > 100
    assert color[0, 0] <= 2
    assert over[30, 45, 0] > over[30, 45, 2]


def test_a_signed_overlay_is_red_above_zero_and_blue_below() -> None:
    values = np.array([[1.0, 0.0, -1.0]])
    over = np.asarray(overlay_picture(PILImage.new("RGB", (3, 1), (120, 120, 120)), values, signed=True), dtype=int)
    assert over[0, 0, 0] > over[0, 0, 2] + 50
    assert over[0, 1].tolist() == [120, 120, 120]
    assert over[0, 2, 2] > over[0, 2, 0] + 50


def test_a_map_of_zeros_lays_nothing_over() -> None:
    grey = PILImage.new("RGB", (4, 3), (90, 90, 90))
    for signed in (False, True):
        assert overlay_picture(grey, np.zeros((3, 4)), signed=signed) == grey


def test_an_overlay_of_another_size_is_refused(cat: PILImage.Image) -> None:
    with pytest.raises(ValueError, match=r"\(7, 7\).*\(60, 90\)"):
        overlay_picture(cat, np.zeros((7, 7)))


# Grids.


def tiles(count: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_tiles_are_enlarged_without_smoothing_and_laid_in_rows() -> None:
    filters = tiles(6, 3, 4, 4)
    sheet = np.asarray(grid_picture(filters, columns=3, scale=2))
    assert sheet.shape == (1 + 2 * 9, 1 + 3 * 9, 3)
    for index in range(6):
        row, column = divmod(index, 3)
        tile = sheet[1 + 9 * row : 9 + 9 * row, 1 + 9 * column : 9 + 9 * column]
        assert (tile == filters[index].transpose(1, 2, 0).repeat(2, 0).repeat(2, 1)).all()


def test_a_grid_is_nearly_square_and_its_tiles_can_be_seen() -> None:
    sheet = grid_picture(tiles(64, 3, 7, 7))
    assert 0.8 < sheet.width / sheet.height < 1.25
    assert sheet.width >= 64 * 6


def test_tiles_of_different_sizes_share_a_room() -> None:
    sheet = grid_picture([np.zeros((10, 10)), np.ones((4, 6))], columns=2, scale=1)
    assert sheet.size == (23, 12)
    right = np.asarray(sheet)[1:11, 12:22]
    assert (right[3:7, 2:8] == 255).all()
    assert (right[0] == right[0, 0]).all()
    assert 0 < right[0, 0, 0] < 255


def test_labels_take_a_line_under_their_tiles() -> None:
    plain, labelled = (grid_picture(tiles(4, 3, 96, 96), scale=1, labels=labels) for labels in ((), "abcd"))
    assert labelled.width == plain.width
    assert 2 * 12 <= labelled.height - plain.height <= 2 * 24


def test_a_label_is_drawn_and_cut_to_its_tile() -> None:
    blank = np.full((2, 96, 96), 228, np.uint8)
    sheet = np.asarray(grid_picture(blank, labels=["x" * 500, ""], columns=2, scale=1), dtype=int)
    dark = np.argwhere(sheet.sum(-1) < 300)
    assert len(dark) > 50
    assert dark[:, 1].max() <= 100
    assert dark[:, 0].min() > 96


def test_the_range_of_values_is_printed_below() -> None:
    plain = grid_picture(tiles(4, 1, 96, 96))
    ranged = grid_picture(tiles(4, 1, 96, 96), value_range=(-1, 1))
    assert ranged.crop((0, 0, *plain.size)) == plain
    assert 10 < ranged.height - plain.height < 30


@pytest.mark.parametrize(("count", "edge"), [(300, 300), (3000, 8), (2, 9000), (20_000, 2)])
def test_a_sheet_stays_within_4096_pixels(count: int, edge: int) -> None:
    tile = PILImage.new("RGB", (edge, edge), "red")
    sheet = grid_picture([tile] * count)
    assert 1000 < max(sheet.size) <= 4096


def test_an_enlargement_asked_for_is_bounded_too() -> None:
    assert max(grid_picture(tiles(4, 3, 7, 7), scale=10_000, labels="abcd").size) <= 4096


def test_a_grid_needs_tiles_and_a_label_for_each() -> None:
    with pytest.raises(ValueError, match="at least one"):
        grid_picture([])
    with pytest.raises(ValueError, match="2 tiles has 3 labels"):
        grid_picture(tiles(2, 3, 4, 4), labels="abc")


# Events.


def test_a_heatmap_becomes_a_picture_an_overlay_and_its_raw_values(cat: PILImage.Image) -> None:
    values = torch.from_numpy(bump())[None, None] * 3
    results = render(Heatmap("cam", values, caption="Where."), cat)
    assert [(r.name, r.kind) for r in results] == [("cam", "image"), ("overlay", "image"), ("cam", "tensor")]
    assert all(r.caption == "Where." for r in results)
    low, high = results[0].value_range or (0, 0)
    assert (low, high) == pytest.approx((values.min().item(), values.max().item()))
    assert isinstance(results[2].value, np.ndarray)
    assert results[2].value.shape == (60, 90)
    assert (results[2].value == values.numpy()).all()


def test_there_is_no_overlay_without_an_input_of_the_maps_size(cat: PILImage.Image) -> None:
    kinds = [
        [r.name for r in render(Heatmap("cam", values, overlay=overlay), picture)]
        for values, overlay, picture in (
            (bump(), True, None),
            (bump(7, 7), True, cat),
            (bump(), False, cat),
        )
    ]
    assert kinds == [["cam", "cam"]] * 3


def test_the_overlay_of_a_second_heatmap_is_called_after_it(cat: PILImage.Image) -> None:
    renderer = Renderer(cat)
    names = [r.name for name in ("a", "b") for r in renderer.render(Heatmap(name, bump())) if r.kind == "image"]
    assert names == ["a", "overlay", "b", "b_overlay"]


def test_two_results_of_a_kind_with_one_name_are_refused() -> None:
    renderer = Renderer()
    renderer.render(Image("dream", np.zeros((3, 4, 4))))
    renderer.render(Tensor("dream", np.zeros(3)))
    with pytest.raises(ValueError, match="'dream'"):
        renderer.render(ImageGrid("dream", np.zeros((2, 3, 4, 4))))


def test_a_result_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty name"):
        render(Text("", "words"))


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(TypeError, match="Note is no result"):
        render(Note("x"))  # type: ignore[arg-type]  # refused for just that


def test_an_array_is_kept_exactly_and_apart_from_the_techniques_own() -> None:
    for values in (torch.arange(6, dtype=torch.float64).reshape(2, 3), np.arange(3, dtype=np.int16), torch.tensor(2.5)):
        kept = render(Tensor("t", values))[0].value
        expected = values.numpy().copy() if isinstance(values, torch.Tensor) else values.copy()
        values[...] = 0
        assert isinstance(kept, np.ndarray)
        assert (kept.dtype, kept.shape) == (expected.dtype, expected.shape)
        assert (kept == expected).all()


def test_an_array_of_objects_is_no_tensor() -> None:
    with pytest.raises(ValueError, match="object"):
        render(Tensor("t", np.array([{}])))


def test_rows_of_a_table_become_plain_values() -> None:
    row = {
        "class": "cat",
        "p": torch.tensor(0.5),
        "n": np.int64(3),
        "xy": (1, np.float32(2)),
        "bad": float("nan"),
        "no": None,
    }
    (table,) = render(Table("top", [row]))
    assert table.kind == "table"
    assert table.value == [{"class": "cat", "p": 0.5, "n": 3, "xy": [1, 2.0], "bad": None, "no": None}]
    with pytest.raises(ValueError, match="object"):
        render(Table("top", [{"x": object()}]))


def test_text_and_pictures_keep_their_captions() -> None:
    assert dataclasses.astuple(render(Text("t", "words", "c"))[0])[:4] == ("t", "text", "words", "c")
    image = render(Image("i", np.ones((3, 2, 2)), "c"))[0]
    assert (image.caption, image.value_range) == ("c", None)
    grid = render(ImageGrid("g", np.ones((2, 3, 2, 2)), value_range=(-1, 2)))[0]
    assert grid.value_range == (-1, 2)


def test_a_preview_is_a_picture_or_a_map_over_the_input(cat: PILImage.Image) -> None:
    assert preview_picture(Preview(np.ones((3, 5, 6)))).size == (6, 5)
    assert preview_picture(Preview(bump(), heatmap=True), cat) == overlay_picture(cat, bump())
    signed = bump() - 0.5
    assert preview_picture(Preview(signed, heatmap=True), cat) == overlay_picture(cat, signed, signed=True)
    assert preview_picture(Preview(bump(7, 7), heatmap=True), cat) == heatmap_picture(bump(7, 7))
