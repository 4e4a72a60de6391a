"""A server under mixed load at the bound of its queue does not grow; one that does is found out by the same gate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import convscope
from support.figures import tell
from support.hostile_plugin import HOSTILE
from support.soak import Load, Soaked, State, leaks
from support.steady_plugin import STEADY
from support.walking import WALKING

pytestmark = pytest.mark.slow

FLAGS = "--devices", "cpu", "--plugin", STEADY, "--plugin", HOSTILE, "--plugin", WALKING
LIMITS = {"max_queued": 8, "disconnect_grace": 1, "checkpoint_seconds": 0.1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soaked]:
    with Soaked(tmp_path_factory.mktemp("server"), *FLAGS, warm_models="tiny", **LIMITS) as running:
        yield running


def test_a_server_whose_queue_is_full_all_along_grows_by_nothing(server: Soaked, seconds: int, clients: int) -> None:
    load = Load(server.address, clients)
    with convscope.connect(server.address) as client:
        load.go_on(max(seconds / 6, 5))
        before = State.of(server, client)
        load.go_on(seconds * 5 / 6)
        after = State.of(server, client)
        assert client.devices()[0].restarts == 0
    assert load.done["refused: queue full"]
    assert load.done["put_down_and_take_up"]
    grown = {name: getattr(after, name) - getattr(before, name) for name in State.__slots__}
    tell("soak", {**load.done, **{f"{name} left": value for name, value in grown.items()}})
    assert leaks(before, after) == []


def test_a_plugin_that_leaks_is_found_out_by_the_same_gate(server: Soaked) -> None:
    with convscope.connect(server.address) as client:
        client.visualize("steady.leak", model="tiny", cache="bypass").result()
        before = State.of(server, client)
        for _ in range(30):
            client.visualize("steady.leak", model="tiny", cache="bypass").result()
        found = leaks(before, State.of(server, client))
    assert [what.partition(":")[0] for what in found] == ["resident", "files"]
