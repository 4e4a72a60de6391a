"""A new plugin as its author meets it: written, installed into a fresh environment, tested, served."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

import convscope
from convscope.testing import ServerProcess
from support.environment import Environment


@pytest.mark.slow
@pytest.mark.timeout(900)  # many processes, each of which imports torch
def test_a_new_package_installs_passes_its_tests_and_is_served(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv")
    environment.run("convscope", "new", "edge-maps", cwd=tmp_path)
    package = tmp_path / "convscope-edge-maps"
    environment.install(package)
    assert "failed" not in environment.run("pytest", "-q", "-p", "no:cacheprovider", cwd=package)
    listed = environment.run("convscope", "plugins", cwd=tmp_path)
    assert "sensitivity\tconvscope-edge-maps\t0.1.0\tloaded" in listed
    with (
        ServerProcess(tmp_path / "data", python=environment.python, warm_models="") as server,
        convscope.connect(server.address) as client,
    ):
        info = client.technique("edge_maps.sensitivity")
        assert (info.package, info.version) == ("convscope-edge-maps", "0.1.0")
        result = client.visualize("edge_maps.sensitivity", image=_picture(), samples=2).result()
    assert result.tensors["sensitivity"].shape == (224, 224)


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
