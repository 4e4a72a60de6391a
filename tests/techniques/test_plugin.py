from __future__ import annotations

import pluggy

import convscope_techniques
from convscope_sdk import hookspecs


def test_the_package_is_plugged_in_like_anyone_elses() -> None:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(convscope_techniques)
    (offered,) = manager.hook.convscope_techniques()
    ids = [technique.id for technique in offered]
    assert len(ids) == len(set(ids))
    assert {"filters", "activations", "saliency", "grad_cam", "occlusion", "deepdream"} <= set(ids)
