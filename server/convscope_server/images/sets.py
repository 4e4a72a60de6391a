"""Every image set that can be asked for, whoever has it: the workers, a folder, or clients who uploaded one."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from convscope_sdk.image_sets.folder import FolderSource
from convscope_server.engine.engine import Engine
from convscope_server.engine.messages import ImageSetInfo
from convscope_server.errors import RequestError
from convscope_server.images.content import ContentStore
from convscope_server.images.set_store import ImageSetStore, UploadedSet
from convscope_server.images.uploaded import Manifest, parse_manifest

__all__ = ["MAX_MEMBERS", "ImageSetService", "found_by_source"]

MAX_MEMBERS = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,127}")
_LABELS = 10_000
_AT_ONCE = 500
_HINT = "ImageSetService.ListImageSets lists them"

Reach = Callable[[Collection[str]], Awaitable[set[str]]]


class ImageSetService:
    """Image sets by name.

    Args:
        store: Which sets clients uploaded; opened by `start`, closed by `close`.
        content: Where their pictures are.
        engine: Whose workers have the others.
        folders: Directory of image sets, a folder each, or None.
    """

    def __init__(
        self,
        store: ImageSetStore,
        content: ContentStore,
        engine: Engine,
        *,
        folders: Path | None,
    ) -> None:
        self._store = store
        self._content = content
        self._engine = engine
        self._folders = FolderSource(folders) if folders else None

    async def start(self) -> None:
        """Open the store."""
        await asyncio.to_thread(self._store.open)

    async def close(self) -> None:
        """Close the store."""
        await asyncio.to_thread(self._store.close)

    async def all(self, *, scope: str | None = None) -> list[ImageSetInfo | UploadedSet]:
        """Every set with a name, by name: the server's, and those of an owner, or everyone's where `scope` is None."""
        others = {info.name: info for info in await self._others()}
        uploaded = [found for found in await self._store.all(scope) if found.name not in others]
        return sorted([*others.values(), *uploaded], key=lambda found: found.name)

    async def find(self, name: str, *, scope: str | None = None) -> ImageSetInfo | UploadedSet:
        """One set; a name that some source resolves ("torchvision:CIFAR10") is taken for one.

        Raises:
            RequestError: NOT_FOUND, IMAGE_SET_NOT_FOUND, with near names.
        """
        others = {info.name: info for info in await self._others()}
        if name in others:
            return others[name]
        if (uploaded := await self._store.find(name, scope)) is not None:
            return uploaded
        if found_by_source(name):
            return ImageSetInfo(name, name.partition(":")[0])
        names = [*others, *(uploaded.name for uploaded in await self._store.all(scope))]
        raise RequestError.unknown("image set", name, names, hint=_HINT)

    async def manifests(self, names: Collection[str], *, scope: str | None = None) -> dict[str, str]:
        """The manifests of those sets that clients uploaded, by name.

        Raises:
            RequestError: as `find`.
        """
        found = [await self.find(name, scope=scope) for name in names]
        return {each.name: each.manifest for each in found if isinstance(each, UploadedSet)}

    async def create(
        self, name: str, manifest: str, *, replace: bool, owner: str = "", reach: Reach | None = None
    ) -> UploadedSet:
        """Make a set of pictures that are in the content store; the same again changes nothing.

        Args:
            name: What it is to be called.
            manifest: Digest of the document that describes it.
            replace: Whether another set of that name is replaced.
            owner: Whose it will be.
            reach: Gives those of some blobs that the owner may name; all where absent.

        Raises:
            RequestError: INVALID_ARGUMENT for a name or manifest that is none; ALREADY_EXISTS, IMAGE_SET_EXISTS;
                FAILED_PRECONDITION, IMAGE_SET_INCOMPLETE, where pictures have not been uploaded.
        """
        await self._check_name(name)
        earlier = await self._store.find(name, owner)
        if earlier is not None and earlier.manifest == manifest:
            self._content.used(await self._digests(manifest))
            return earlier
        if earlier is not None and not replace:
            raise _exists(name, f"with other pictures ({earlier.count:,}); set replace, or choose another name")
        parsed = await asyncio.to_thread(parse_manifest, await self._content.get(manifest))
        size = await self._size(parsed, reach)
        labels = {
            column: dict(Counter(filter(None, values)).most_common(_LABELS))
            for column, values in parsed.columns.items()
        }
        new = UploadedSet(name, manifest, len(parsed.members), size, time.time(), labels, owner)
        digests = {member.digest for member in parsed.members}
        left = await self._store.put(new, digests)
        self._content.used({*digests, manifest})
        await self._content.drop(left)
        return new

    async def delete(self, name: str, *, scope: str | None = None) -> None:
        """Forget a set that a client uploaded, and the pictures that nothing else needs.

        Raises:
            RequestError: NOT_FOUND, with near names; FAILED_PRECONDITION, IMAGE_SET_NOT_UPLOADED.
        """
        found = await self.find(name, scope=scope)
        if not isinstance(found, UploadedSet):
            raise RequestError.of(
                "FAILED_PRECONDITION",
                "IMAGE_SET_NOT_UPLOADED",
                f"image set {name!r} comes from {found.source!r}, not from a client; remove it there",
                metadata={"source": found.source},
            )
        await self._content.drop(await self._store.delete(name, found.owner))

    async def _others(self) -> list[ImageSetInfo]:
        """What workers said that there is, and the folders as they are now."""
        known = [info for info in self._engine.catalog.image_sets.values() if info.source != FolderSource.name]
        if self._folders is None:
            return known
        entries = await asyncio.to_thread(lambda source: list(source.entries()), self._folders)
        folders = [ImageSetInfo(entry.name, FolderSource.name, entry.description) for entry in entries]
        return [*folders, *known]  # of two with one name the later counts in a dictionary: samples stay samples

    async def _check_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            what = f"given {name[:130]!r}; allowed: 1 to 128 letters, digits, spaces and . _ -, a letter or digit first"
            raise RequestError.invalid("REQUEST_INVALID", [("name", what)])
        for info in await self._others():
            if info.name == name:
                raise _exists(name, f"and comes from {info.source!r}; choose another name")

    async def _digests(self, manifest: str) -> set[str]:
        """All that a set is made of."""
        parsed = await asyncio.to_thread(parse_manifest, await self._content.get(manifest))
        return {manifest, *(member.digest for member in parsed.members)}

    async def _size(self, manifest: Manifest, reach: Reach | None) -> int:
        """Bytes of all files."""
        if len(manifest.members) > MAX_MEMBERS:
            what = f"has {len(manifest.members):,} members; allowed: {MAX_MEMBERS:,}"
            raise RequestError.invalid("IMAGE_SET_MANIFEST", [("manifest", what)])
        digests = list(dict.fromkeys(member.digest for member in manifest.members))
        missing = await self._content.missing(digests)
        if reach is not None:
            missing += await _beyond(digests, reach)
        if missing:
            raise RequestError.of(
                "FAILED_PRECONDITION",
                "IMAGE_SET_INCOMPLETE",
                f"{len(missing):,} of {len(digests):,} pictures have not been uploaded; send them with "
                "ContentService.Upload, then create the set again",
                metadata={"missing": str(len(missing)), "first": missing[0]},
            )
        return await self._content.total_size(digests)


async def _beyond(digests: list[str], reach: Reach) -> list[str]:
    """Those that the owner may not name: for them they are not here."""
    found: list[str] = []
    for start in range(0, len(digests), _AT_ONCE):
        some = digests[start : start + _AT_ONCE]
        within = await reach(some)
        found += [digest for digest in some if digest not in within]
    return found


def found_by_source(name: str) -> bool:
    """Whether the name has the form of one that a source resolves without listing it."""
    source, colon, rest = name.partition(":")
    return bool(source and colon and rest)


def _exists(name: str, why: str) -> RequestError:
    return RequestError.of("ALREADY_EXISTS", "IMAGE_SET_EXISTS", f"image set {name!r} exists {why}")
