"""The fields of requests, each held to its bound. Looks at nothing but the request."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct

from convscope.v1 import artifact_pb2, run_pb2, visualization_service_pb2
from convscope_server.api.convert import PRIORITIES, RUN_STATES
from convscope_server.api.violations import Violations
from convscope_server.engine.messages import PreviewOptions
from convscope_server.errors import RequestError
from convscope_server.priority import Priority
from convscope_server.runs.run import CachePolicy, RunFilter

__all__ = [
    "MAX_INLINE_IMAGE",
    "cache_of",
    "check_digest",
    "check_form",
    "check_page_size",
    "check_params_size",
    "check_updates",
    "disconnect_of",
    "known_run_id",
    "previews_of",
    "priority_of",
    "run_filter",
    "seconds_of",
]

MAX_INLINE_IMAGE = 2 * 2**20
MAX_PARAMS = 64 * 2**10
MAX_NAME = 256
MAX_LABELS, MAX_LABEL = 32, 128
MAX_EXTRA_IMAGES, MAX_ROLE = 16, 64
MAX_RESTARTS = 10
MAX_UPDATES = 1024
MAX_MEDIA_TYPES = 8
MAX_PREVIEW_INTERVAL = 3600.0
MIN_PREVIEW_EDGE, MAX_PREVIEW_EDGE = 16, 2048
MAX_PAGE, DEFAULT_PAGE = 1000, 50
MAX_PAGE_TOKEN = 1024

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
_FORMATS: Mapping[int, str] = {
    run_pb2.PREVIEW_FORMAT_UNSPECIFIED: "jpeg",
    run_pb2.PREVIEW_FORMAT_JPEG: "jpeg",
    run_pb2.PREVIEW_FORMAT_PNG: "png",
    run_pb2.PREVIEW_FORMAT_WEBP: "webp",
}


def check_form(request: run_pb2.VisualizeRequest, violations: Violations) -> None:
    """Every field of a request for a run within its bounds, whatever the technique."""
    check_name(request.technique, "technique", violations)
    check_name(request.model, "model", violations)
    check_params_size(request.params, "params", violations)
    check_updates(request.updates, violations)
    _check_images(request, violations)
    _check_request_id(request.request_id, violations)
    _check_previews(request.previews, violations)
    violations.check(
        seconds_of(request.deadline) >= 0, "deadline", f"given {seconds_of(request.deadline)} s; allowed: 0 s or more"
    )
    _check_enum(request.priority, run_pb2.Priority.values(), "priority", violations)
    _check_enum(request.cache, run_pb2.CachePolicy.values(), "cache", violations)
    _check_enum(request.on_disconnect, run_pb2.OnDisconnect.values(), "on_disconnect", violations)
    check_labels(request.labels, violations)
    count = len(request.media_types)
    violations.check(count <= MAX_MEDIA_TYPES, "media_types", f"given {count}; allowed: {MAX_MEDIA_TYPES}")
    violations.check(
        request.max_restarts <= MAX_RESTARTS,
        "max_restarts",
        f"given {request.max_restarts}; allowed: 0 to {MAX_RESTARTS}",
    )


def check_params_size(params: Struct, path: str, violations: Violations) -> None:
    """Parameters of bounded size."""
    size = params.ByteSize()
    violations.check(size <= MAX_PARAMS, path, f"take {size:,} bytes; allowed: {MAX_PARAMS:,}")


def check_name(name: str, path: str, violations: Violations) -> None:
    """A required name of bounded length."""
    violations.check(bool(name), path, "is required")
    violations.check(len(name) <= MAX_NAME, path, f"has {len(name):,} characters; allowed: {MAX_NAME}")


def check_updates(updates: Sequence[run_pb2.Update], violations: Violations) -> None:
    """Not too many changes of a run, nor too large ones together."""
    count, size = len(updates), sum(update.ByteSize() for update in updates)
    violations.check(count <= MAX_UPDATES, "updates", f"given {count:,}; allowed: {MAX_UPDATES:,}")
    violations.check(size <= MAX_PARAMS, "updates", f"take {size:,} bytes; allowed: {MAX_PARAMS:,}")


def check_labels(labels: Mapping[str, str], violations: Violations) -> None:
    """At most 32 labels of at most 128 characters."""
    violations.check(len(labels) <= MAX_LABELS, "labels", f"given {len(labels)}; allowed: {MAX_LABELS}")
    for key, value in labels.items():
        fine = 0 < len(key) <= MAX_LABEL and len(value) <= MAX_LABEL
        violations.check(
            fine, f"labels.{key[:MAX_ROLE]}", f"keys have 1 to {MAX_LABEL} characters, values at most {MAX_LABEL}"
        )


def check_digest(digest: str, path: str, violations: Violations) -> bool:
    """A digest is "sha256:" and 64 lower-case hexadecimal digits; gives whether this is one."""
    return violations.check(
        _DIGEST.fullmatch(digest) is not None,
        path,
        f"given {digest[:80]!r}; allowed: sha256: and 64 lower-case hexadecimal digits",
        "DIGEST_INVALID",
    )


def check_page_size(size: int, token: str, violations: Violations) -> int:
    """The page size after its default, 1 to 1,000."""
    violations.check(
        0 <= size <= MAX_PAGE, "page_size", f"given {size}; allowed: 1 to {MAX_PAGE:,}, 0 for {DEFAULT_PAGE}"
    )
    violations.check(len(token) <= MAX_PAGE_TOKEN, "page_token", "is none that this server gave out")
    return size or DEFAULT_PAGE


def known_run_id(run: str) -> str:
    """The id, if it can be that of a run.

    Raises:
        RequestError: NOT_FOUND for anything that no run is called.
    """
    if _RUN_ID.fullmatch(run):
        return run
    raise RequestError.of("NOT_FOUND", "RUN_NOT_FOUND", f"no run {run[:80]!r}; a run id is 32 hexadecimal digits")


def previews_of(options: run_pb2.PreviewOptions) -> PreviewOptions:
    """How previews are made, after defaults."""
    defaults = PreviewOptions()
    return PreviewOptions(
        min_interval=seconds_of(options.min_interval) if options.HasField("min_interval") else defaults.min_interval,
        max_edge=options.max_edge or defaults.max_edge,
        format=_FORMATS[options.format],
        none=options.none,
    )


def disconnect_of(choice: int, *, watched: bool) -> Literal["cancel", "detach"]:
    """What happens when the last watcher leaves; unless chosen, a watched run is cancelled and others go on."""
    if choice == run_pb2.ON_DISCONNECT_UNSPECIFIED:
        return "cancel" if watched else "detach"
    return "cancel" if choice == run_pb2.ON_DISCONNECT_CANCEL else "detach"


def priority_of(choice: int) -> Priority:
    """How urgent a run is; normal unless chosen."""
    return next((name for name, number in PRIORITIES.items() if number == choice), "normal")


def cache_of(choice: int) -> CachePolicy:
    """Whether a twin may stand for a run; "default" unless chosen."""
    policies: dict[int, CachePolicy] = {run_pb2.CACHE_POLICY_BYPASS: "bypass", run_pb2.CACHE_POLICY_ONLY: "only"}
    return policies.get(choice, "default")


def seconds_of(duration: Duration) -> float:
    """A duration in seconds; 0 where absent."""
    return duration.seconds + duration.nanos / 1e9


def run_filter(request: visualization_service_pb2.ListRunsRequest, violations: Violations) -> RunFilter:
    """Which runs are asked for."""
    _check_enum(request.state, run_pb2.RunState.values(), "state", violations)
    for path, name in (("technique", request.technique), ("model", request.model)):
        violations.check(len(name) <= MAX_NAME, path, f"has {len(name):,} characters; allowed: {MAX_NAME}")
    check_labels(request.labels, violations)
    state = next((state for state, number in RUN_STATES.items() if number == request.state), None)
    return RunFilter(state=state, technique=request.technique, model=request.model, labels=dict(request.labels))


def _check_images(request: run_pb2.VisualizeRequest, violations: Violations) -> None:
    count = len(request.extra_images)
    violations.check(count <= MAX_EXTRA_IMAGES, "extra_images", f"given {count}; allowed: {MAX_EXTRA_IMAGES}")
    if request.HasField("image"):
        _check_image(request.image, "image", violations)
    for role, image in request.extra_images.items():
        path = f"extra_images.{role[:MAX_ROLE]}"
        violations.check(0 < len(role) <= MAX_ROLE, path, f"a role has 1 to {MAX_ROLE} characters")
        _check_image(image, path, violations)


def _check_image(image: artifact_pb2.Image, path: str, violations: Violations) -> None:
    size = len(image.encoded)
    if image.WhichOneof("source") == "digest":
        check_digest(image.digest, f"{path}.digest", violations)
    elif size == 0:
        violations.add(path, "is empty: give the bytes of an image file, or the digest of one", "IMAGE_MISSING")
    else:
        violations.check(
            size <= MAX_INLINE_IMAGE,
            path,
            f"has {size:,} bytes; at most {MAX_INLINE_IMAGE:,} travel inline: send it with ContentService.Upload and "
            "name it by digest",
            "IMAGE_TOO_LARGE_INLINE",
        )


def _check_request_id(request_id: str, violations: Violations) -> None:
    try:
        fine = not request_id or uuid.UUID(request_id).hex == request_id.replace("-", "").lower()
    except ValueError:
        fine = False
    violations.check(fine, "request_id", f"given {request_id[:80]!r}; allowed: a UUID, or nothing")


def _check_previews(options: run_pb2.PreviewOptions, violations: Violations) -> None:
    interval, edge = seconds_of(options.min_interval), options.max_edge
    violations.check(
        0 <= interval <= MAX_PREVIEW_INTERVAL,
        "previews.min_interval",
        f"given {interval} s; allowed: 0 s to {MAX_PREVIEW_INTERVAL:.0f} s",
    )
    violations.check(
        edge == 0 or MIN_PREVIEW_EDGE <= edge <= MAX_PREVIEW_EDGE,
        "previews.max_edge",
        f"given {edge}; allowed: {MIN_PREVIEW_EDGE} to {MAX_PREVIEW_EDGE}, 0 for the default",
    )
    _check_enum(options.format, tuple(_FORMATS), "previews.format", violations)


def _check_enum(number: int, known: Sequence[int], path: str, violations: Violations) -> None:
    violations.check(number in known, path, f"given {number}, which this server does not know")
