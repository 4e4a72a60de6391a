"""From pictures to a generator of the catalog, and from its codes to pictures, through the whole server."""

from __future__ import annotations

from pathlib import Path

import pytest

import convscope


@pytest.mark.slow
def test_a_trained_generator_is_searched_at_once_and_the_report_names_both_models(tmp_path: Path) -> None:
    with convscope.embedded(models_dir=tmp_path) as client:
        small = {"size": 32, "steps": 2, "batch": 2, "measured": 16, "name": "mirror"}
        made = client.visualize("inversion_network_training", model="efficientnet_lite0", **small).result()
        assert made.report.scores["image_error_after"] > 0
        assert "reconstructions" in made.images
        info = client.model("mirror")
        assert (info.kind, info.parameters > 0) == ("generator", True)
        found = client.visualize(
            "latent_visualization", model="efficientnet_lite0", generator="mirror", target="class:130", steps=3, size=64
        ).result()
        assert found.report.scores["objective_after"] > found.report.scores["objective_before"]
        assert found.report.provenance["other_models"] == {"mirror": info.weights_digest}
        assert {model.name: model.users for device in client.devices() for model in device.models} == {
            "efficientnet_lite0": 0,
            "mirror": 0,
        }
        with pytest.raises(convscope.ConvscopeError, match="mirror"):
            client.visualize("latent_visualization", model="efficientnet_lite0", generator="miror", steps=1).result()
