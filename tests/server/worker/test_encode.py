from __future__ import annotations

from convscope_sdk.events import Text
from convscope_sdk.render import render
from convscope_server.worker.encode import result_artifact


def test_a_page_keeps_its_media_type_and_words_are_plain() -> None:
    page, words = render(Text("map", "<p>", media_type="text/html")), render(Text("words", "Wörter"))
    assert result_artifact(page[0]).media_type == "text/html"
    assert result_artifact(words[0]).media_type == "text/plain"
    assert result_artifact(words[0]).content == "Wörter".encode()
