from __future__ import annotations

from pathlib import Path

from convscope.v1 import model_admin_service_pb2 as pb
from convscope.v1 import visualization_service_pb2 as visualization
from support.aio import eventually, in_loop
from support.port import catalog_engine, refusal_of, serving, visualize


@in_loop
async def test_a_model_is_loaded_shown_on_its_device_and_unloaded(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        loaded = await port.admin.LoadModel(pb.LoadModelRequest(model="efficientnet_lite0", device="cpu"))
        assert (loaded.device, loaded.size_bytes) == ("cpu", 1024)
        (device,) = (await port.admin.ListDevices(pb.ListDevicesRequest())).devices
        assert (device.name, device.state, device.models[0].name) == (
            "cpu",
            pb.WORKER_STATE_READY,
            "efficientnet_lite0",
        )
        unloaded = await port.admin.UnloadModel(pb.UnloadModelRequest(model="efficientnet_lite0"))
        assert list(unloaded.devices) == ["cpu"]
        again = await port.admin.UnloadModel(pb.UnloadModelRequest(model="efficientnet_lite0"))
        assert list(again.devices) == []


@in_loop
async def test_unknown_models_and_devices_are_named(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path) as port:
        model = await refusal_of(port.admin.LoadModel(pb.LoadModelRequest(model="efficientnet_lite9")))
        assert (model.code, model.metadata["near"]) == ("NOT_FOUND", "efficientnet_lite0")
        nameless = await refusal_of(port.admin.LoadModel(pb.LoadModelRequest()))
        assert nameless.violations == {"model": "is required"}
        request = pb.LoadModelRequest(model="efficientnet_lite0", device="cuda:7")
        device = await refusal_of(port.admin.LoadModel(request))
        assert (device.code, device.reason) == ("NOT_FOUND", "DEVICE_NOT_FOUND")
        assert "there are cpu" in device.message


@in_loop
async def test_a_model_in_use_stays(tmp_path: Path) -> None:
    engine = catalog_engine()
    async with serving(engine, tmp_path) as port:
        await port.visualization.SubmitRun(visualization.SubmitRunRequest(request=visualize()))
        await eventually(lambda: bool(engine.runs))
        refusal = await refusal_of(port.admin.UnloadModel(pb.UnloadModelRequest(model="efficientnet_lite0")))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "MODEL_IN_USE")
