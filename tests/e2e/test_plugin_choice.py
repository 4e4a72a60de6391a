"""Which plugins a server loads, and a plugin that has a Python of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import convscope
from convscope.testing import ServerProcess
from support.hostile_plugin import HOSTILE
from support.own_environment import own_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_environment(tmp_path_factory.mktemp("own") / "venv")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Iterator[convscope.Client]:
    folder = tmp_path_factory.mktemp("server")
    other = own_environment(folder / "other", convscope="9.9")
    config = folder / "convscope.toml"
    config.write_text(
        f'plugin_files = ["{HOSTILE}"]\nwarm_models = []\nallow_plugins = []\nmax_live_runs = 1\n'
        f'[plugins.convscope-lonely]\npython = "{python}"\n'
        f'[plugins.nobody]\npython = "{python}"\n'
        f'[plugins.lonely]\npython = "{other}"\n'
    )
    with (
        ServerProcess(folder, "--devices", "cpu", "--config", str(config)) as server,
        convscope.connect(server.address) as client,
    ):
        yield client


def test_a_plugin_of_its_own_environment_is_in_the_catalog_and_runs_there(
    client: convscope.Client, python: Path
) -> None:
    assert {"lonely.where", "hostile.count", "saliency"} <= {technique.id for technique in client.techniques()}
    result = client.visualize("lonely.where", model="efficientnet_lite0").result(timeout=120)
    assert result.texts["prefix"] == str(python.parents[1])
    assert result.report.provenance["package"] == "convscope-lonely"
    assert result.report.provenance["version"] == "0.3"
    by_name = {device.name: device for device in client.devices()}
    assert by_name["cpu/convscope-lonely"].pid == int(result.texts["pid"]) != by_name["cpu"].pid


def test_what_cannot_be_used_of_an_environment_is_listed_with_what_to_do(client: convscope.Client) -> None:
    reasons = {plugin.name: plugin.reason for plugin in client.plugins()}
    assert reasons["lonely"] == "" or "pip install convscope==" in reasons["lonely"]
    assert "pip install convscope==" in " ".join(reasons.values())
    assert "no plugin 'nobody'" in reasons["nobody"]


def test_a_crash_there_hurts_nobody_here_and_a_full_lane_there_holds_nobody_up(client: convscope.Client) -> None:
    main = next(device for device in client.devices() if device.name == "cpu")
    here = client.visualize("hostile.count", model="tiny", steps=100_000, pause=0.01)
    next(event for event in here if event.kind == "progress")
    crashing = [client.visualize("lonely.crash", model="efficientnet_lite0", detach=True) for _ in range(2)]
    for run in crashing:
        with pytest.raises(convscope.RunFailed) as caught:
            run.result(timeout=120)
        assert "technique lonely.crash (convscope-lonely 0.3)" in str(caught.value)
    here.cancel()
    assert client.visualize("hostile.count", model="tiny").result(timeout=60)
    assert next(device for device in client.devices() if device.name == "cpu").pid == main.pid


def test_with_none_allowed_the_example_plugins_are_listed_as_denied(client: convscope.Client) -> None:
    """Those that are installed here beside convscope, if they are."""
    for plugin in client.plugins():
        if plugin.package in {"convscope-captum", "convscope-attention"}:
            assert (plugin.state, plugin.techniques) == ("denied", ())
            assert "allow_plugins" in plugin.reason
