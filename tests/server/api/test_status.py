from __future__ import annotations

import logging
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from convscope_server.api.status import MAX_DETAILS, code_number, grpc_code, internal_error, message_of, status_of
from convscope_server.runs.events import Error, FieldViolation

texts = st.text(max_size=3000)
errors = st.builds(
    Error,
    code=st.sampled_from([code.name for code in grpc.StatusCode]),
    message=texts,
    reason=st.from_regex(r"[A-Z_]{1,40}", fullmatch=True),
    metadata=st.dictionaries(st.text(max_size=200), texts, max_size=20),
    violations=st.lists(st.builds(FieldViolation, texts, texts), max_size=50).map(tuple),
)


@given(errors)
def test_whatever_the_error_its_trailers_fit(error: Error) -> None:
    status = status_of(error)
    assert status.ByteSize() <= MAX_DETAILS
    assert len(quote(message_of(error))) <= 2000 + len(quote("…"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (error.reason, "convscope")


def test_a_small_error_arrives_whole() -> None:
    violations = (FieldViolation("params.octaves", "given 0"), FieldViolation("image", "is missing"))
    error = Error("INVALID_ARGUMENT", "two things", "REQUEST_INVALID", {"near": "saliency"}, violations)
    status = status_of(error)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (status.code, status.message) == (3, "two things")
    assert dict(info.metadata) == {"near": "saliency"}
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("params.octaves", "given 0"),
        ("image", "is missing"),
    ]


def test_a_refusal_for_now_says_when_to_come_back_and_a_quota_which_it_is() -> None:
    error = Error("RESOURCE_EXHAUSTED", "too much", "R", {"quota": "queued runs", "retry_after_seconds": "2.5"})
    retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
    assert status_of(error).details[1].Unpack(retry)
    assert status_of(error).details[2].Unpack(quota)
    assert retry.retry_delay.ToMilliseconds() == 2500
    assert [(v.subject, v.description) for v in quota.violations] == [("queued runs", "too much")]


def test_the_first_violations_survive_shortening() -> None:
    violations = tuple(FieldViolation(f"params.p{i}", "x" * 400) for i in range(60))
    bad = error_details_pb2.BadRequest()
    assert status_of(Error("INVALID_ARGUMENT", "m", "R", {}, violations)).details[1].Unpack(bad)
    assert bad.field_violations[0].field == "params.p0"
    assert len(bad.field_violations) > 5


def test_a_long_message_ends_in_an_ellipsis() -> None:
    assert message_of(Error("INTERNAL", "ж" * 5000, "R")).endswith("ж…")
    assert message_of(Error("INTERNAL", "short", "R")) == "short"


def test_codes_have_their_canonical_numbers() -> None:
    numbers = {name: code_number(name) for name in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED")}
    assert numbers == {"INVALID_ARGUMENT": 3, "NOT_FOUND": 5, "UNAUTHENTICATED": 16}
    assert grpc_code("nonsense") is grpc.StatusCode.UNKNOWN
    assert code_number("nonsense") == 2


def test_a_bug_leaves_its_traceback_in_the_log_and_a_reference_with_the_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        try:
            int("the secret")
        except ValueError:
            refusal = internal_error("GetRun")
    assert refusal.error.code == "INTERNAL"
    assert "secret" not in refusal.error.message
    assert refusal.error.metadata["reference"] in caplog.text
    assert "the secret" in caplog.text
