"""The image sets of a fake server."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import Any

from convscope._methods import Message, image_sets
from convscope.errors import AlreadyExists, FailedPrecondition, NotFound

__all__ = ["FakeSets"]


class FakeSets:
    """What clients made of the files of a fake server.

    Args:
        content: The files by digest.
    """

    def __init__(self, content: MutableMapping[str, bytes]) -> None:
        self._content = content
        self._sets: dict[str, image_sets.ImageSet] = {}

    def answers(self) -> dict[str, Callable[[Any], Message]]:
        """What answers each call."""
        return {
            "CreateImageSet": lambda it: image_sets.CreateImageSetResponse(image_set=self._create(it)),
            "GetImageSet": lambda it: image_sets.GetImageSetResponse(image_set=self._find(it.name)),
            "ListImageSets": lambda _: image_sets.ListImageSetsResponse(image_sets=self._sets.values()),
            "DeleteImageSet": self._delete,
        }

    def _create(self, request: image_sets.CreateImageSetRequest) -> image_sets.ImageSet:
        earlier = self._sets.get(request.name)
        if earlier is not None and earlier.manifest != request.manifest and not request.replace:
            raise AlreadyExists(f"image set {request.name!r} exists", reason="IMAGE_SET_EXISTS")
        members = json.loads(self._content[request.manifest])["members"]
        if missing := [member for member in members if member["digest"] not in self._content]:
            raise FailedPrecondition(f"{len(missing)} pictures are missing", reason="IMAGE_SET_INCOMPLETE")
        made = image_sets.ImageSet(
            name=request.name, source="uploaded", count=len(members), manifest=request.manifest, size_bytes=1
        )
        columns: dict[str, Counter[str]] = {}
        for member in members:
            for column, label in member.get("labels", {}).items():
                columns.setdefault(column, Counter())[label] += 1
        made.label_columns.extend(image_sets.LabelColumn(name=n, counts=counts) for n, counts in columns.items())
        self._sets[request.name] = made
        return made

    def _find(self, name: str) -> image_sets.ImageSet:
        if name not in self._sets:
            raise NotFound(f"no image set {name!r}", reason="IMAGE_SET_NOT_FOUND")
        return self._sets[name]

    def _delete(self, request: image_sets.DeleteImageSetRequest) -> Message:
        del self._sets[self._find(request.name).name]
        return image_sets.DeleteImageSetResponse()
