"""Every call of the wire contract, with its types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from convscope.v1 import artifact_pb2 as artifact
from convscope.v1 import catalog_service_pb2 as catalog
from convscope.v1 import content_service_pb2 as content
from convscope.v1 import image_set_service_pb2 as image_sets
from convscope.v1 import model_admin_service_pb2 as admin
from convscope.v1 import run_pb2 as run
from convscope.v1 import visualization_service_pb2 as visualization

__all__ = ["Message", "Method", "admin", "artifact", "catalog", "content", "image_sets", "run", "visualization"]

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, R]):
    """One RPC: its place in the contract and the messages that it takes and gives."""

    service: str
    name: str
    request: type[Q]
    response: type[R]

    @property
    def path(self) -> str:
        """The path of its HTTP/2 request."""
        return f"/convscope.v1.{self.service}/{self.name}"


_RUNS = "VisualizationService"
VISUALIZE = Method(_RUNS, "Visualize", run.VisualizeRequest, run.RunEvent)
SUBMIT_RUN = Method(_RUNS, "SubmitRun", visualization.SubmitRunRequest, visualization.SubmitRunResponse)
WATCH_RUN = Method(_RUNS, "WatchRun", visualization.WatchRunRequest, run.RunEvent)
GET_RUN = Method(_RUNS, "GetRun", visualization.GetRunRequest, visualization.GetRunResponse)
LIST_RUNS = Method(_RUNS, "ListRuns", visualization.ListRunsRequest, visualization.ListRunsResponse)
CANCEL_RUN = Method(_RUNS, "CancelRun", visualization.CancelRunRequest, visualization.CancelRunResponse)
PAUSE_RUN = Method(_RUNS, "PauseRun", visualization.PauseRunRequest, visualization.PauseRunResponse)
RESUME_RUN = Method(_RUNS, "ResumeRun", visualization.ResumeRunRequest, visualization.ResumeRunResponse)
UPDATE_RUN = Method(_RUNS, "UpdateRun", visualization.UpdateRunRequest, visualization.UpdateRunResponse)
DELETE_RUN = Method(_RUNS, "DeleteRun", visualization.DeleteRunRequest, visualization.DeleteRunResponse)

_CATALOG = "CatalogService"
LIST_TECHNIQUES = Method(_CATALOG, "ListTechniques", catalog.ListTechniquesRequest, catalog.ListTechniquesResponse)
GET_TECHNIQUE = Method(_CATALOG, "GetTechnique", catalog.GetTechniqueRequest, catalog.GetTechniqueResponse)
LIST_MODELS = Method(_CATALOG, "ListModels", catalog.ListModelsRequest, catalog.ListModelsResponse)
GET_MODEL = Method(_CATALOG, "GetModel", catalog.GetModelRequest, catalog.GetModelResponse)
LIST_PLUGINS = Method(_CATALOG, "ListPlugins", catalog.ListPluginsRequest, catalog.ListPluginsResponse)

_CONTENT = "ContentService"
FIND_MISSING = Method(_CONTENT, "FindMissing", content.FindMissingRequest, content.FindMissingResponse)
UPLOAD = Method(_CONTENT, "Upload", content.UploadRequest, content.UploadResponse)
DOWNLOAD = Method(_CONTENT, "Download", content.DownloadRequest, content.DownloadResponse)

_SETS = "ImageSetService"
CREATE_IMAGE_SET = Method(_SETS, "CreateImageSet", image_sets.CreateImageSetRequest, image_sets.CreateImageSetResponse)
GET_IMAGE_SET = Method(_SETS, "GetImageSet", image_sets.GetImageSetRequest, image_sets.GetImageSetResponse)
LIST_IMAGE_SETS = Method(_SETS, "ListImageSets", image_sets.ListImageSetsRequest, image_sets.ListImageSetsResponse)
DELETE_IMAGE_SET = Method(_SETS, "DeleteImageSet", image_sets.DeleteImageSetRequest, image_sets.DeleteImageSetResponse)

_ADMIN = "ModelAdminService"
LOAD_MODEL = Method(_ADMIN, "LoadModel", admin.LoadModelRequest, admin.LoadModelResponse)
UNLOAD_MODEL = Method(_ADMIN, "UnloadModel", admin.UnloadModelRequest, admin.UnloadModelResponse)
LIST_DEVICES = Method(_ADMIN, "ListDevices", admin.ListDevicesRequest, admin.ListDevicesResponse)

# Those that may load a model, go through a folder or wait for a step first, which takes as long as that takes.
SLOW = frozenset({GET_MODEL.path, LOAD_MODEL.path, GET_IMAGE_SET.path, CREATE_IMAGE_SET.path, UPDATE_RUN.path})
