"""A server made of a script, for tests of programs that use convscope: no port, no torch, no waiting.

```python
server = FakeServer()
server.add_technique("saliency", [progress(1, 2), image("saliency", picture), progress(2, 2)])
run = server.client().visualize("saliency", image="cat.jpg")
assert run.result().images["saliency"].size == picture.size
```

What the script leaves out comes by itself: "accepted" and "started" in front, "succeeded" at the end. Runs of a
technique that is `resumable` can be paused and updated between two events. Broken connections are part of the script
too: `server.cuts` says after how many events each stream ends.

`ServerProcess` is a real server in a process of its own.
"""

from __future__ import annotations

from convscope.testing.events import (
    cancelled,
    checkpointed,
    failed,
    image,
    note,
    paused,
    preview,
    progress,
    queued,
    started,
    succeeded,
    table,
    tensor,
    text,
    updated,
)
from convscope.testing.process import ServerProcess
from convscope.testing.server import FakeServer
from convscope.testing.transport import AsyncFakeTransport, FakeTransport

__all__ = [
    "AsyncFakeTransport",
    "FakeServer",
    "FakeTransport",
    "ServerProcess",
    "cancelled",
    "checkpointed",
    "failed",
    "image",
    "note",
    "paused",
    "preview",
    "progress",
    "queued",
    "started",
    "succeeded",
    "table",
    "tensor",
    "text",
    "updated",
]
