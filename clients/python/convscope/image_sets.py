"""The image sets of a server: `client.image_sets`."""

from __future__ import annotations

import builtins
import time
from collections.abc import Mapping, Sequence

from convscope import _methods, _wire_catalog
from convscope._bundle import Bundle, Pictures, Progress
from convscope._content import deliver, digest_of, patience, send
from convscope._reconnect import Backoff
from convscope._transport import Transport
from convscope.catalog import ImageSetInfo
from convscope.errors import ConvscopeError

__all__ = ["ImageSets"]


class ImageSets:
    """Sets of pictures by name: what the parameter `image_set` of techniques takes."""

    def __init__(self, transport: Transport, *, give_up_after: float = 300.0) -> None:
        self._transport = transport
        self._give_up_after = give_up_after

    def create(
        self,
        name: str,
        pictures: Pictures,
        *,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> ImageSetInfo:
        """Make a set of your own pictures; only what the server does not have is sent.

        A call that was interrupted, repeated, sends the rest. The same pictures again change nothing.

        Args:
            name: What it is to be called.
            pictures: A folder, whose sub-folders are classes; paths of files; or pictures by name.
            labels: Label columns: {"breed": {"1.jpg": "tabby"}}.
            replace: Whether a set of that name that has other pictures is replaced.
            progress: Called with the number of pictures that the server has, and of all.

        Raises:
            InvalidArgument: there are no pictures, or one cannot be read.
            AlreadyExists: there is another set of that name.
        """
        bundle = Bundle(pictures, labels)
        tell = progress or _nobody
        done = 0
        for digests in bundle.groups():
            backoff = Backoff(self._give_up_after)
            missing = self._missing(digests, backoff)
            tell(done := done + len(digests) - len(missing), len(bundle))
            for digest in missing:
                send(self._transport, digest, bundle.content(digest), backoff)
                tell(done := done + 1, len(bundle))
        manifest = digest_of(bundle.manifest)
        deliver(self._transport, {manifest: bundle.manifest})
        request = _methods.CREATE_IMAGE_SET.request(name=name, manifest=manifest, replace=replace)
        return _wire_catalog.image_set(self._transport.unary(_methods.CREATE_IMAGE_SET, request).image_set)

    def list(self) -> builtins.list[ImageSetInfo]:
        """Every set with a name. Sources may resolve more ("torchvision:CIFAR10")."""
        response = self._transport.unary(_methods.LIST_IMAGE_SETS, _methods.LIST_IMAGE_SETS.request())
        return [_wire_catalog.image_set(item) for item in response.image_sets]

    def get(self, name: str) -> ImageSetInfo:
        """One set, with the number of its pictures and their labels.

        Raises:
            NotFound: no such set; the message has near names.
        """
        response = self._transport.unary(_methods.GET_IMAGE_SET, _methods.GET_IMAGE_SET.request(name=name))
        return _wire_catalog.image_set(response.image_set)

    def delete(self, name: str) -> None:
        """Forget a set that was made with `create`, and those of its pictures that nothing else needs.

        Raises:
            NotFound: no such set; the message has near names.
            FailedPrecondition: it is one of the server's own.
        """
        self._transport.unary(_methods.DELETE_IMAGE_SET, _methods.DELETE_IMAGE_SET.request(name=name))

    def _missing(self, digests: Sequence[str], backoff: Backoff) -> builtins.list[str]:
        request = _methods.FIND_MISSING.request(digests=digests)
        while True:
            try:
                return [*self._transport.unary(_methods.FIND_MISSING, request).digests]
            except ConvscopeError as error:
                time.sleep(patience(error, backoff))


def _nobody(_done: int, _total: int) -> None:
    """Nobody wants to know."""
