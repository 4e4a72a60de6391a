"""ImageSetService: sets of pictures, those that clients uploaded and those of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from convscope.v1 import image_set_service_pb2 as pb
from convscope_server.access.principal import acting
from convscope_server.api.fields import check_digest, check_name
from convscope_server.api.holdings import Holdings
from convscope_server.api.violations import Violations
from convscope_server.engine.engine import Engine
from convscope_server.engine.messages import ImageSetDetail, ImageSetInfo
from convscope_server.images.set_store import UploadedSet
from convscope_server.images.sets import ImageSetService
from convscope_server.images.uploaded import UploadedSource

__all__ = ["ImageSetServicer"]


@dataclass(slots=True)
class ImageSetServicer:
    """To each principal the server's sets and their own; a worker opens those of which only it knows more."""

    image_sets: ImageSetService
    holdings: Holdings
    engine: Engine

    async def create_image_set(self, request: pb.CreateImageSetRequest) -> pb.CreateImageSetResponse:
        """Make a set of uploaded pictures."""
        violations = Violations()
        check_name(request.name, "name", violations)
        check_digest(request.manifest, "manifest", violations)
        violations.refuse_any()
        await self.holdings.check(request.manifest)
        made = await self.image_sets.create(
            request.name,
            request.manifest,
            replace=request.replace,
            owner=acting().name,
            reach=self.holdings.within_reach,
        )
        return pb.CreateImageSetResponse(image_set=_uploaded(made, with_labels=True))

    async def get_image_set(self, request: pb.GetImageSetRequest) -> pb.GetImageSetResponse:
        """One set with its labels."""
        found = await self.image_sets.find(request.name, scope=acting().scope)
        if isinstance(found, UploadedSet):
            return pb.GetImageSetResponse(image_set=_uploaded(found, with_labels=True))
        return pb.GetImageSetResponse(image_set=_described(await self.engine.describe_image_set(found.name)))

    async def list_image_sets(self, _request: pb.ListImageSetsRequest) -> pb.ListImageSetsResponse:
        """Every set with a name."""
        return pb.ListImageSetsResponse(
            image_sets=[
                _uploaded(found) if isinstance(found, UploadedSet) else _info(found)
                for found in await self.image_sets.all(scope=acting().scope)
            ]
        )

    async def delete_image_set(self, request: pb.DeleteImageSetRequest) -> pb.DeleteImageSetResponse:
        """Forget a set that a client uploaded."""
        await self.image_sets.delete(request.name, scope=acting().scope)
        return pb.DeleteImageSetResponse()


def _info(info: ImageSetInfo) -> pb.ImageSet:
    return pb.ImageSet(name=info.name, source=info.source, description=info.description)


def _described(detail: ImageSetDetail) -> pb.ImageSet:
    message = _info(detail.info)
    message.count = detail.count
    message.label_columns.extend(_columns(detail.labels))
    return message


def _uploaded(found: UploadedSet, *, with_labels: bool = False) -> pb.ImageSet:
    made = Timestamp()
    made.FromNanoseconds(int(found.create_time * 1e9))
    return pb.ImageSet(
        name=found.name,
        source=UploadedSource.name,
        description=f"{found.count:,} pictures uploaded by a client",
        count=found.count,
        label_columns=_columns(found.labels) if with_labels else [],
        size_bytes=found.size_bytes,
        manifest=found.manifest,
        create_time=made,
    )


def _columns(labels: Mapping[str, Mapping[str, int]]) -> list[pb.LabelColumn]:
    return [pb.LabelColumn(name=name, counts=counts) for name, counts in labels.items()]
