"""Commands about models and image sets rather than runs."""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from typing import TYPE_CHECKING

from convscope_sdk.errors import TechniqueError
from convscope_server.engine.between_steps import CheckParams
from convscope_server.engine.messages import (
    DescribeImageSet,
    DescribeModel,
    ImageSetDetail,
    ImageSetInfo,
    LoadModel,
    ModelInfo,
    Reply,
    ToModels,
    UnloadModel,
)
from convscope_server.errors import RequestError, error_of, looked_up
from convscope_server.models.describe import describe
from convscope_server.runs.events import Error

if TYPE_CHECKING:
    from convscope_server.worker.workshop import Workshop

__all__ = ["administer"]

logger = logging.getLogger(__name__)

_LABELS = 10_000  # of a column that are told; a message has an end


def administer(shop: Workshop, command: ToModels) -> Reply:
    """The reply to a command about a model or an image set."""
    request = command.request
    reply = Reply(request)
    try:
        match command:
            case LoadModel(model=name):
                reply = Reply(request, loaded=shop.cache.load(name))
            case UnloadModel(model=name):
                reply = Reply(request, done=shop.cache.unload(name))
            case DescribeModel(model=name):
                reply = _describe(shop, request, name)
            case CheckParams(technique=name, params=params):
                looked_up("technique", name, shop.techniques).technique.params.parse(params)
                reply = Reply(request, done=True)
            case DescribeImageSet(image_set=name):
                reply = Reply(request, image_set=_describe_image_set(shop, name))
    except RequestError as refusal:
        return Reply(request, error=refusal.error)
    except TechniqueError as refusal:
        return Reply(request, error=error_of(refusal))
    except Exception as error:  # a source's or architecture's own bug
        reference = secrets.token_hex(4)
        logger.exception("%s failed, reference %s", command, reference)
        message = f"{_subject(command)} failed with {type(error).__name__}; the server's log has {reference}"
        reason = "IMAGE_SET_FAILED" if isinstance(command, DescribeImageSet) else "MODEL_FAILED"
        return Reply(request, error=Error("INTERNAL", message, reason, {"reference": reference}))
    return reply


def _describe(shop: Workshop, request: int, name: str) -> Reply:
    network = shop.cache.acquire(name)
    try:
        spec = network.spec
        info = ModelInfo(name, spec.kind, spec.source, spec.description)
        return Reply(request, detail=describe(network, info))
    finally:
        shop.cache.release(name)


def _describe_image_set(shop: Workshop, name: str) -> ImageSetDetail:
    spec = shop.image_sets.spec(name)
    labels = {
        column: dict(Counter(filter(None, values)).most_common(_LABELS)) for column, values in spec.labels.items()
    }
    return ImageSetDetail(ImageSetInfo(name, spec.source, spec.description), len(spec.names), labels)


def _subject(command: ToModels) -> str:
    if isinstance(command, DescribeImageSet):
        return f"image set {command.image_set!r}"
    if isinstance(command, CheckParams):
        return f"technique {command.technique!r}"
    return f"model {command.model!r}"
