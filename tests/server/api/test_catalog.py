from __future__ import annotations

from pathlib import Path

from convscope.v1 import catalog_service_pb2 as pb
from convscope.v1 import model_admin_service_pb2 as admin
from support.aio import in_loop
from support.port import CATALOG, catalog_engine, refusal_of, serving


@in_loop
async def test_techniques_are_listed_by_id_and_found_one_by_one(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        listed = (await port.catalog.ListTechniques(pb.ListTechniquesRequest())).techniques
        dream, filters, saliency, style = listed
        assert [t.id for t in (dream, filters, saliency, style)] == ["dream", "filters", "saliency", "style"]
        assert dict(style.extra_images) == {"style": "the style"}
        assert (saliency.cites, saliency.package, list(saliency.needs)) == (
            "Simonyan 2013", "convscope", ["image", "gradients"],
        )  # fmt: skip
        assert [(t.resumable, list(t.steers)) for t in (dream, saliency)] == [(True, ["label", "octaves"]), (False, [])]
        assert saliency.params_schema == CATALOG.techniques["saliency"].params_schema
        found = await port.catalog.GetTechnique(pb.GetTechniqueRequest(id="saliency"))
        assert found.technique == saliency
        refusal = await refusal_of(port.catalog.GetTechnique(pb.GetTechniqueRequest(id="saliencey")))
        assert (refusal.code, refusal.metadata["near"]) == ("NOT_FOUND", "saliency")


@in_loop
async def test_models_say_where_they_are_and_one_says_everything(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        (before,) = (await port.catalog.ListModels(pb.ListModelsRequest())).models
        assert (before.name, list(before.devices), before.HasField("detail")) == ("efficientnet_lite0", [], False)
        await port.admin.LoadModel(admin.LoadModelRequest(model="efficientnet_lite0"))
        (after,) = (await port.catalog.ListModels(pb.ListModelsRequest())).models
        assert list(after.devices) == ["cpu"]
        model = (await port.catalog.GetModel(pb.GetModelRequest(name="efficientnet_lite0"))).model
        assert list(model.devices) == ["cpu"]
        assert (model.detail.input_size, list(model.detail.classes)) == (224, ["tench", "goldfish"])
        assert dict(model.detail.aliases) == {"first_conv": "conv1"}
        for name in ("efficientnet", ""):
            refusal = await refusal_of(port.catalog.GetModel(pb.GetModelRequest(name=name)))
            assert (refusal.code, refusal.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


@in_loop
async def test_broken_plugins_are_listed_with_their_reason(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        good, broken = (await port.catalog.ListPlugins(pb.ListPluginsRequest())).plugins
        assert (good.state, good.reason) == (pb.PLUGIN_STATE_LOADED, "")
        assert (broken.state, broken.version) == (pb.PLUGIN_STATE_FAILED, "2.1")
        assert "cv2" in broken.reason
