"""Image sets that clients uploaded: in the content store, a manifest, and the pictures that it names by digest."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import msgspec

from convscope_sdk.errors import InvalidImageSet
from convscope_sdk.image_sets.spec import ImageSetEntry, ImageSetSpec
from convscope_server.errors import RequestError
from convscope_server.images.blobs import Blobs

__all__ = ["Manifest", "Member", "UploadedSets", "UploadedSource", "parse_manifest"]

_UNLIMITED = 1 << 62


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture of a set: what it is called, its file's digest, and its label in each column that it has one in."""

    name: str
    digest: str
    labels: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client uploads as JSON: the pictures of a set in their order."""

    members: tuple[Member, ...]

    @property
    def columns(self) -> dict[str, list[str]]:
        """Label columns, in the order in which they first appear: a label for each picture, "" where it has none."""
        names = dict.fromkeys(column for member in self.members for column in member.labels)
        return {column: [member.labels.get(column, "") for member in self.members] for column in names}


def parse_manifest(content: bytes) -> Manifest:
    """The manifest.

    Raises:
        RequestError: INVALID_ARGUMENT, IMAGE_SET_MANIFEST: it is not of that form, empty, or names a picture twice.
    """
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = f'is no JSON of the form {{"members": [{{"name", "digest", "labels"}}]}}: {error}'
        raise RequestError.invalid("IMAGE_SET_MANIFEST", [("manifest", what)]) from None
    names = {member.name for member in manifest.members}
    if not manifest.members or len(names) < len(manifest.members) or "" in names:
        what = f"has {len(manifest.members):,} members with {len(names):,} names; each needs a name of its own"
        raise RequestError.invalid("IMAGE_SET_MANIFEST", [("manifest", what)])
    return manifest


class UploadedSets:
    """Opens uploaded sets.

    Args:
        url: The content store's; empty where there is none.
    """

    def __init__(self, url: str) -> None:
        self._blobs = Blobs(url, _UNLIMITED) if url else None

    def source(self, manifests: Mapping[str, str]) -> UploadedSource:
        """The sets whose manifests have these digests, by name."""
        return UploadedSource(self, manifests)

    @functools.lru_cache(maxsize=8)  # noqa: B019 - lives as long as its worker
    def manifest(self, digest: str) -> Manifest:
        """The manifest of that digest.

        Raises:
            FileNotFoundError: it was deleted.
        """
        return parse_manifest(self.read(digest))

    def read(self, digest: str) -> bytes:
        """A blob.

        Raises:
            FileNotFoundError: it was deleted.
        """
        if self._blobs is None:
            raise FileNotFoundError(digest)
        return self._blobs.read(self._blobs.path(digest), 0, -1)


class UploadedSource:
    """The uploaded sets that one run may look at."""

    name = "uploaded"

    def __init__(self, sets: UploadedSets, manifests: Mapping[str, str]) -> None:
        self._sets = sets
        self._manifests = manifests

    def entries(self) -> Iterator[ImageSetEntry]:
        """Their names."""
        return (ImageSetEntry(name, "uploaded by a client") for name in self._manifests)

    def spec(self, name: str) -> ImageSetSpec | None:
        """The set as it was when the run was asked for.

        Raises:
            InvalidImageSet: it was deleted since then.
        """
        if name not in self._manifests:
            return None
        try:
            manifest = self._sets.manifest(self._manifests[name])
        except FileNotFoundError:
            raise InvalidImageSet(
                f"image set {name!r} was deleted after this run was asked for; create it and ask again",
                reason="IMAGE_SET_NOT_FOUND",
            ) from None
        members = manifest.members
        return ImageSetSpec(
            name,
            self.name,
            [member.name for member in members],
            read=lambda index: self._sets.read(members[index].digest),
            digest=lambda index: bytes.fromhex(members[index].digest.removeprefix("sha256:")),
            labels=manifest.columns,
            description=f"{len(members):,} pictures uploaded by a client",
        )
