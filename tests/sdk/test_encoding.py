"""Artifact encoders that plugins offer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from convscope_sdk import ArtifactEncoder
from convscope_sdk.hookspecs import hookimpl
from convscope_sdk.loader import Loader, PluginError
from convscope_sdk.render import Rendered


def encode(_: Rendered) -> bytes:
    return b"file"


def offering(*encoders: Any) -> SimpleNamespace:
    @hookimpl
    def convscope_artifact_encoders() -> list[Any]:
        return list(encoders)

    return SimpleNamespace(convscope_artifact_encoders=convscope_artifact_encoders)


WEBP = ArtifactEncoder("image/webp", "image", encode)


def test_encoders_are_collected_with_who_brought_them() -> None:
    loader = Loader(strict=True)
    loader.load_object("formats", offering(WEBP), "acme", "1.2")
    loaded = loader.plugins.encoders["image/webp"]
    assert (loaded.encoder, loaded.package, loaded.version) == (WEBP, "acme", "1.2")


WRONG = {
    "no ArtifactEncoder": "image/webp",
    "type/subtype": ArtifactEncoder("WebP", "image", encode),
    "the host writes image/png by itself": ArtifactEncoder("image/png", "image", encode),
    "takes 'picture'": ArtifactEncoder("image/webp", "picture", encode),  # type: ignore[arg-type]  # no such kind
    "nobody can call": ArtifactEncoder("image/webp", "image", "cwebp"),  # type: ignore[arg-type]  # no function
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_cannot_encode_is_refused_with_the_reason(reason: str) -> None:
    with pytest.raises(PluginError, match=reason):
        Loader(strict=True).load_object("formats", offering(WRONG[reason]), "acme")


def test_a_media_type_of_two_plugins_stays_with_the_first(caplog: pytest.LogCaptureFixture) -> None:
    loader = Loader()
    loader.load_object("first", offering(WEBP), "acme")
    loader.load_object("second", offering(ArtifactEncoder("image/webp", "image", encode)), "other")
    assert loader.plugins.encoders["image/webp"].package == "acme"
    assert "'second': another plugin encodes image/webp" in caplog.text
