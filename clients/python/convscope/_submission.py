"""A request for a run, made ready: its pictures packed, its id chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from convscope import _wire
from convscope._content import pack
from convscope.events import CachePolicy, Priority
from convscope.images import ImageLike

__all__ = ["Submission"]

# Extra pictures have roles of their own choosing, so the primary one gets a name that is no role.
_PRIMARY = ""


@dataclass(frozen=True, slots=True)
class Submission:
    """The request, and the files to upload before it is sent."""

    request: _wire.VisualizeRequest
    uploads: Mapping[str, bytes]

    @classmethod
    def of(
        cls,
        technique: str,
        params: Mapping[str, Any],
        *,
        image: ImageLike | None,
        model: str,
        extra_images: Mapping[str, ImageLike] | None,
        seed: int,
        detach: bool,
        request_id: str | None,
        labels: Mapping[str, str] | None,
        deadline: float | None,
        previews: _wire.PreviewOptions | bool | None,
        max_restarts: int,
        media_types: Sequence[str],
        priority: Priority,
        cache: CachePolicy,
        updates: Sequence[tuple[int, Mapping[str, Any]]],
    ) -> Submission:
        """Pack the pictures and choose a request id, so that sending twice never runs twice.

        Raises:
            InvalidArgument: something cannot be sent; the message says what to give instead.
        """
        from uuid import uuid4

        pictures = dict(extra_images or {})
        if image is not None:
            pictures[_PRIMARY] = image
        parcel = pack(dict(sorted(pictures.items())))
        request = _wire.visualize_request(
            technique,
            model=model,
            image=parcel.images.get(_PRIMARY),
            extra_images={role: picture for role, picture in parcel.images.items() if role != _PRIMARY},
            params=params,
            seed=seed,
            request_id=request_id or str(uuid4()),
            previews=previews,
            deadline=deadline,
            detach=detach,
            labels=labels or {},
            max_restarts=max_restarts,
            media_types=media_types,
            priority=priority,
            cache=cache,
            updates=updates,
        )
        return cls(request, parcel.uploads)
