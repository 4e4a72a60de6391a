"""CatalogService: what this server can do."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.v1 import catalog_service_pb2 as pb
from convscope_server.api.convert import model_message, plugin_message, technique_message
from convscope_server.api.validate import find_technique, known_model
from convscope_server.engine.engine import Engine

__all__ = ["CatalogServicer"]


@dataclass(slots=True)
class CatalogServicer:
    """Reads the engine's catalog."""

    engine: Engine

    async def list_techniques(self, _request: pb.ListTechniquesRequest) -> pb.ListTechniquesResponse:
        """Every technique, by id."""
        techniques = sorted(self.engine.catalog.techniques.items())
        return pb.ListTechniquesResponse(techniques=[technique_message(t) for _, t in techniques])

    async def get_technique(self, request: pb.GetTechniqueRequest) -> pb.GetTechniqueResponse:
        """One technique."""
        found = find_technique(request.id, self.engine.catalog)
        return pb.GetTechniqueResponse(technique=technique_message(found))

    async def list_models(self, _request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """Every model with a name, and where it is loaded; folders are looked through anew."""
        await self.engine.refresh_models()
        models = sorted(self.engine.catalog.models.items())
        return pb.ListModelsResponse(models=[model_message(m, self._holders(name)) for name, m in models])

    async def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """One model with its layers; loads it if need be."""
        detail = await self.engine.describe_model(await known_model(request.name, self.engine))
        return pb.GetModelResponse(model=model_message(detail.info, self._holders(request.name), detail))

    async def list_plugins(self, _request: pb.ListPluginsRequest) -> pb.ListPluginsResponse:
        """Every plugin found at start-up, the broken ones too."""
        return pb.ListPluginsResponse(plugins=map(plugin_message, self.engine.catalog.plugins))

    def _holders(self, model: str) -> list[str]:
        return [device.name for device in self.engine.devices() if any(m.name == model for m in device.models)]
