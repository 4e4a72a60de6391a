"""ModelAdminService: what is on the devices."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.v1 import model_admin_service_pb2 as pb
from convscope_server.api.convert import device_message
from convscope_server.api.fields import check_name
from convscope_server.api.validate import known_model
from convscope_server.api.violations import Violations
from convscope_server.engine.engine import Engine
from convscope_server.errors import RequestError

__all__ = ["ModelAdminServicer"]


@dataclass(slots=True)
class ModelAdminServicer:
    """Brings models to devices and takes them off."""

    engine: Engine

    async def load_model(self, request: pb.LoadModelRequest) -> pb.LoadModelResponse:
        """Bring a model onto a device ahead of its first run."""
        await self._check(request.model, request.device)
        device, loaded = await self.engine.load_model(request.model, request.device)
        return pb.LoadModelResponse(device=device, size_bytes=loaded.size_bytes)

    async def unload_model(self, request: pb.UnloadModelRequest) -> pb.UnloadModelResponse:
        """Take a model off its devices."""
        await self._check(request.model, request.device)
        return pb.UnloadModelResponse(devices=await self.engine.unload_model(request.model, request.device))

    async def list_devices(self, _request: pb.ListDevicesRequest) -> pb.ListDevicesResponse:
        """The devices, their workers and the models on them."""
        return pb.ListDevicesResponse(devices=map(device_message, self.engine.devices()))

    async def _check(self, model: str, device: str) -> None:
        violations = Violations()
        check_name(model, "model", violations)
        violations.refuse_any()
        await known_model(model, self.engine)
        devices = [status.name for status in self.engine.devices()]
        if device and device not in devices:
            raise RequestError.unknown("device", device, devices, hint=f"there are {', '.join(devices)}")
