from __future__ import annotations

import subprocess
import sys

import pytest

import convscope_sdk

_IMPORT = """
import sys, time
before = time.process_time()  # of this process alone: other tests may be busy beside it
import convscope_sdk
seconds = time.process_time() - before
heavy = {"torch", "pluggy", "PIL", "torchvision", "timm"} & sys.modules.keys()
print(seconds, *heavy)
"""


def test_every_exported_name_exists_and_the_list_is_sorted() -> None:
    assert convscope_sdk.__all__ == sorted(convscope_sdk.__all__)
    assert len(set(convscope_sdk.__all__)) == len(convscope_sdk.__all__)
    for name in convscope_sdk.__all__:
        assert getattr(convscope_sdk, name) is not None
    assert set(convscope_sdk.__all__) <= set(dir(convscope_sdk))


def test_all_events_and_errors_are_exported() -> None:
    from convscope_sdk import errors, events

    left_out = {"ResultKind", "near_names", "shown"}
    assert {*events.__all__, *errors.__all__} - left_out <= set(convscope_sdk.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Heatmapp"):
        _ = convscope_sdk.Heatmapp


def test_importing_the_kit_is_quick_and_brings_nothing_heavy() -> None:
    outputs = [
        subprocess.run([sys.executable, "-c", _IMPORT], check=True, capture_output=True, text=True).stdout.split()
        for _ in range(3)
    ]
    assert all(heavy == [] for _, *heavy in outputs)
    assert min(float(seconds) for seconds, *_ in outputs) < 0.5


def test_pictures_are_read_and_drawn_without_torch() -> None:
    code = "import sys, convscope_sdk.images, convscope_sdk.render; print('torch' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "False"
