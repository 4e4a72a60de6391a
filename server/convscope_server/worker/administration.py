"""Commands about models rather than runs."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from convscope_sdk.errors import TechniqueError
from convscope_server.engine.messages import DescribeModel, LoadModel, ModelInfo, Reply, UnloadModel
from convscope_server.errors import RequestError, error_of
from convscope_server.models.describe import describe
from convscope_server.runs.events import Error

if TYPE_CHECKING:
    from convscope_server.worker.workshop import Workshop

__all__ = ["administer"]

logger = logging.getLogger(__name__)


def administer(shop: Workshop, command: LoadModel | UnloadModel | DescribeModel) -> Reply:
    """The reply to a command about a model."""
    request = command.request
    try:
        match command:
            case LoadModel(model=name):
                return Reply(request, loaded=shop.cache.load(name))
            case UnloadModel(model=name):
                return Reply(request, done=shop.cache.unload(name))
            case DescribeModel(model=name):
                return _describe(shop, request, name)
    except RequestError as refusal:
        return Reply(request, error=refusal.error)
    except TechniqueError as refusal:
        return Reply(request, error=error_of(refusal))
    except Exception as error:  # a model source's or architecture's own bug
        reference = secrets.token_hex(4)
        logger.exception("%s failed, reference %s", command, reference)
        message = f"model {command.model!r} failed with {type(error).__name__}; the server's log has {reference}"
        return Reply(request, error=Error("INTERNAL", message, "MODEL_FAILED", {"reference": reference}))


def _describe(shop: Workshop, request: int, name: str) -> Reply:
    network = shop.cache.acquire(name)
    try:
        spec = network.spec
        info = ModelInfo(name, spec.kind, spec.source, spec.description)
        return Reply(request, detail=describe(network, info))
    finally:
        shop.cache.release(name)
