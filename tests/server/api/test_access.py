"""Who may do what, over a real port: every rule as a row of a table."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from convscope.v1 import (
    catalog_service_pb2,
    content_service_pb2,
    image_set_service_pb2,
    model_admin_service_pb2,
    run_pb2,
    visualization_service_pb2,
)
from convscope_server.access.door import ADMIN_ONLY
from convscope_server.access.tokens import create_token, revoke_tokens
from convscope_server.api.server import SERVICES
from support.aio import in_loop
from support.pictures import encoded
from support.port import Port, catalog_engine, refusal_of, serving, visualize

CONTENT = b"a picture, or nearly"
OTHER = b"another one"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


DIGEST = _digest(CONTENT)
MANIFEST = json.dumps({"members": [{"name": "a.png", "digest": DIGEST}]}).encode()
PRINCIPALS = ("ada", "bob", "root")


@dataclass(frozen=True, slots=True)
class House:
    """A server with ada, bob and the admin root, and what its owner, ada unless told otherwise, has there."""

    port: Port
    tokens: dict[str, str]
    run: str = ""

    def says(self, principal: str) -> dict[str, Any]:
        """What goes with a call of that principal."""
        token = self.tokens.get(principal, principal)
        return {"metadata": (("authorization", f"Bearer {token}"),) if token else ()}


@asynccontextmanager
async def house(folder: Path, *, owner: str = "ada", **settings: Any) -> AsyncIterator[House]:
    file = folder / "tokens.toml"
    tokens = {name: create_token(file, name, admin=name == "root")[0] for name in PRINCIPALS}
    async with serving(catalog_engine(), folder / "data", tokens_file=file, **settings) as port:
        made = House(port, tokens)
        request = visualization_service_pb2.SubmitRunRequest(request=visualize(request_id=_uuid(1)))
        submitted = await port.visualization.SubmitRun(request, **made.says(owner))
        upload = content_service_pb2.UploadRequest(digest=DIGEST, chunk=CONTENT)
        await port.content.Upload(iter([upload]), **made.says(owner))
        manifest = content_service_pb2.UploadRequest(digest=_digest(MANIFEST), chunk=MANIFEST)
        await port.content.Upload(iter([manifest]), **made.says(owner))
        await port.image_sets.CreateImageSet(_requests("")["ImageSetService.CreateImageSet"], **made.says(owner))
        yield House(port, tokens, submitted.run.id)


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def _requests(run: str) -> dict[str, Any]:
    """A request about the owner's things for every RPC."""
    visual, catalog, content = visualization_service_pb2, catalog_service_pb2, content_service_pb2
    admin, sets, model = model_admin_service_pb2, image_set_service_pb2, "efficientnet_lite0"
    return {
        "VisualizationService.Visualize": visualize(image=DIGEST),
        "VisualizationService.SubmitRun": visual.SubmitRunRequest(request=visualize()),
        "VisualizationService.WatchRun": visual.WatchRunRequest(run=run),
        "VisualizationService.GetRun": visual.GetRunRequest(run=run),
        "VisualizationService.ListRuns": visual.ListRunsRequest(),
        "VisualizationService.CancelRun": visual.CancelRunRequest(run=run),
        "VisualizationService.PauseRun": visual.PauseRunRequest(run=run),
        "VisualizationService.ResumeRun": visual.ResumeRunRequest(run=run),
        "VisualizationService.UpdateRun": visual.UpdateRunRequest(run=run),
        "VisualizationService.DeleteRun": visual.DeleteRunRequest(run=run),
        "CatalogService.ListTechniques": catalog.ListTechniquesRequest(),
        "CatalogService.GetTechnique": catalog.GetTechniqueRequest(id="saliency"),
        "CatalogService.ListModels": catalog.ListModelsRequest(),
        "CatalogService.GetModel": catalog.GetModelRequest(name=model),
        "CatalogService.ListPlugins": catalog.ListPluginsRequest(),
        "ContentService.FindMissing": content.FindMissingRequest(digests=[DIGEST]),
        "ContentService.Upload": content.UploadRequest(digest=_digest(OTHER), chunk=OTHER),
        "ContentService.Download": content.DownloadRequest(digest=DIGEST),
        "ImageSetService.CreateImageSet": sets.CreateImageSetRequest(name="hers", manifest=_digest(MANIFEST)),
        "ImageSetService.GetImageSet": sets.GetImageSetRequest(name="hers"),
        "ImageSetService.ListImageSets": sets.ListImageSetsRequest(),
        "ImageSetService.DeleteImageSet": sets.DeleteImageSetRequest(name="hers"),
        "ModelAdminService.LoadModel": admin.LoadModelRequest(model=model),
        "ModelAdminService.UnloadModel": admin.UnloadModelRequest(model=model),
        "ModelAdminService.ListDevices": admin.ListDevicesRequest(),
    }


# What each RPC about somebody's things answers to others; whatever is not named here is allowed.
TO_OTHERS = {
    "VisualizationService.Visualize": "NOT_FOUND",
    "VisualizationService.WatchRun": "NOT_FOUND",
    "VisualizationService.GetRun": "NOT_FOUND",
    "VisualizationService.CancelRun": "NOT_FOUND",
    "VisualizationService.PauseRun": "NOT_FOUND",
    "VisualizationService.ResumeRun": "NOT_FOUND",
    "VisualizationService.UpdateRun": "NOT_FOUND",
    "VisualizationService.DeleteRun": "NOT_FOUND",
    "ContentService.Download": "NOT_FOUND",
    "ImageSetService.CreateImageSet": "NOT_FOUND",
    "ImageSetService.GetImageSet": "NOT_FOUND",
    "ImageSetService.DeleteImageSet": "NOT_FOUND",
    "ModelAdminService.LoadModel": "PERMISSION_DENIED",
    "ModelAdminService.UnloadModel": "PERMISSION_DENIED",
    "ModelAdminService.ListDevices": "PERMISSION_DENIED",
}
TO_THE_OWNER = {name: code for name, code in TO_OTHERS.items() if code == "PERMISSION_DENIED"}
# What is refused to whoever may: what was sent is no picture or changes nothing, and a live run uses
# the model.
ALWAYS = {
    "VisualizationService.Visualize": "INVALID_ARGUMENT",
    "VisualizationService.UpdateRun": "INVALID_ARGUMENT",
    "ModelAdminService.UnloadModel": "FAILED_PRECONDITION",
}
OWNERS = ("ada", "bob", "root")


def _rules(principal: str, owner: str) -> dict[str, str]:
    """What is refused to a principal, by RPC, where the things are the owner's."""
    if principal not in PRINCIPALS:
        return dict.fromkeys(_requests(""), "UNAUTHENTICATED")
    if principal == "root":
        return {}
    return TO_THE_OWNER if principal == owner else TO_OTHERS


async def _answer(made: House, principal: str, rpc: str) -> str:
    """The code that an RPC ends with; a stream is read to its first message."""
    service, _, method = rpc.partition(".")
    stubs = {
        "VisualizationService": made.port.visualization,
        "CatalogService": made.port.catalog,
        "ContentService": made.port.content,
        "ImageSetService": made.port.image_sets,
        "ModelAdminService": made.port.admin,
    }
    request = _requests(made.run)[rpc]
    call = getattr(stubs[service], method)(iter([request]) if method == "Upload" else request, **made.says(principal))
    try:
        if method in {"Visualize", "WatchRun", "Download"}:
            await call.read()
            call.cancel()
        else:
            await call
    except Exception as error:  # noqa: BLE001 - the code is looked at
        return str(error.code().name)  # type: ignore[attr-defined]
    return "OK"


def test_the_table_has_every_rpc_and_the_rules_every_admin_service() -> None:
    every = {f"{name}.{method}" for name, service in SERVICES.items() for method in service.methods_by_name}
    assert every == set(_requests(""))
    assert {rpc for rpc in every if rpc.partition(".")[0] in ADMIN_ONLY} == set(TO_THE_OWNER)


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.parametrize("principal", [*PRINCIPALS, "", "cvs_wrong"])
@in_loop
async def test_every_rpc_answers_each_principal_as_the_table_says(principal: str, owner: str, tmp_path: Path) -> None:
    rules = _rules(principal, owner)
    async with house(tmp_path, owner=owner) as made:
        for rpc in sorted(_requests(""), key=lambda rpc: ("Delete" in rpc, rpc)):
            expected = rules.get(rpc) or ALWAYS.get(rpc, "OK")
            assert (rpc, await _answer(made, principal, rpc)) == (rpc, expected)


@in_loop
async def test_each_principal_lists_their_own_runs_and_an_admin_all(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        listed = {}
        for principal in PRINCIPALS:
            request = visualization_service_pb2.ListRunsRequest()
            page = await made.port.visualization.ListRuns(request, **made.says(principal))
            listed[principal] = [run.id for run in page.runs]
        assert listed == {"ada": [made.run], "bob": [], "root": [made.run]}


@in_loop
async def test_each_principal_has_image_sets_of_their_own_and_an_admin_sees_all(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        listed = {}
        for principal in PRINCIPALS:
            request = image_set_service_pb2.ListImageSetsRequest()
            answer = await made.port.image_sets.ListImageSets(request, **made.says(principal))
            listed[principal] = [found.name for found in answer.image_sets]
        assert listed == {"ada": ["hers"], "bob": [], "root": ["hers"]}
        # The manifest is bob's too once he has sent it; the picture that it names is not.
        manifest = content_service_pb2.UploadRequest(digest=_digest(MANIFEST), chunk=MANIFEST)
        await made.port.content.Upload(iter([manifest]), **made.says("bob"))
        create = _requests("")["ImageSetService.CreateImageSet"]
        refusal = await refusal_of(made.port.image_sets.CreateImageSet(create, **made.says("bob")))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "IMAGE_SET_INCOMPLETE")
        upload = content_service_pb2.UploadRequest(digest=DIGEST, chunk=CONTENT)
        await made.port.content.Upload(iter([upload]), **made.says("bob"))
        await made.port.image_sets.CreateImageSet(create, **made.says("bob"))
        await made.port.image_sets.DeleteImageSet(
            image_set_service_pb2.DeleteImageSetRequest(name="hers"), **made.says("bob")
        )
        assert await _answer(made, "ada", "ImageSetService.GetImageSet") == "OK"


@in_loop
async def test_a_request_id_is_each_principals_own(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        request = visualization_service_pb2.SubmitRunRequest(request=visualize(request_id=_uuid(1)))
        hers = await made.port.visualization.SubmitRun(request, **made.says("ada"))
        his = await made.port.visualization.SubmitRun(request, **made.says("bob"))
        assert hers.run.id == made.run != his.run.id


@in_loop
async def test_what_somebody_else_sent_is_missing_until_one_sends_it_too(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        find = content_service_pb2.FindMissingRequest(digests=[DIGEST])
        upload = content_service_pb2.UploadRequest(digest=DIGEST, chunk=CONTENT)
        content = made.port.content
        assert list((await content.FindMissing(find, **made.says("bob"))).digests) == [DIGEST]
        assert list((await content.FindMissing(find, **made.says("ada"))).digests) == []
        await content.Upload(iter([upload]), **made.says("bob"))
        assert list((await content.FindMissing(find, **made.says("bob"))).digests) == []
        assert await _answer(made, "bob", "ContentService.Download") == "OK"


@in_loop
async def test_the_picture_of_ones_run_can_be_named_again_by_its_digest(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        digest = _digest(encoded())
        request = visualization_service_pb2.SubmitRunRequest(request=visualize(image=digest))
        submitted = await made.port.visualization.SubmitRun(request, **made.says("ada"))
        assert submitted.run.id != made.run
        refusal = await refusal_of(made.port.visualization.SubmitRun(request, **made.says("bob")))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "CONTENT_NOT_FOUND")


@in_loop
async def test_a_missing_token_says_how_to_get_one_and_a_wrong_one_says_no_more(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        ask = made.port.catalog.ListModels
        request = catalog_service_pb2.ListModelsRequest()
        missing = await refusal_of(ask(request))
        assert (missing.reason, "convscope token create" in missing.message) == ("TOKEN_MISSING", True)
        for metadata in (("authorization", "Bearer nobody"), ("authorization", "Basic YTpi"), ("authorization", "")):
            wrong = await refusal_of(ask(request, metadata=(metadata,)))
            assert (wrong.code, wrong.reason) == ("UNAUTHENTICATED", "TOKEN_INVALID")
            assert "nobody" not in wrong.message


@in_loop
async def test_a_revoked_token_opens_no_more_calls(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        assert await _answer(made, "ada", "CatalogService.ListModels") == "OK"
        revoke_tokens(tmp_path / "tokens.toml", "ada")
        assert await _answer(made, "ada", "CatalogService.ListModels") == "UNAUTHENTICATED"
        assert await _answer(made, "bob", "CatalogService.ListModels") == "OK"


@in_loop
async def test_a_principal_is_an_admin_by_setting_too(tmp_path: Path) -> None:
    async with house(tmp_path, admins=("bob",)) as made:
        assert await _answer(made, "bob", "ModelAdminService.ListDevices") == "OK"
        assert await _answer(made, "bob", "VisualizationService.GetRun") == "OK"


@in_loop
async def test_health_and_reflection_ask_nobody(tmp_path: Path) -> None:
    async with house(tmp_path) as made:
        stub = health_pb2_grpc.HealthStub(made.port.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        reflect = reflection_pb2_grpc.ServerReflectionStub(made.port.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        (listed,) = [answer async for answer in reflect.ServerReflectionInfo(asked)]
        ours = {service.full_name for service in SERVICES.values()}
        theirs = {service.name for service in listed.list_services_response.service} - ours
        # Whatever else is served has to be looked at here: only services of ours ask who is there.
        assert theirs == {
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }


def test_every_decision_is_a_line_and_no_line_holds_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> dict[str, str]:
        async with house(tmp_path) as made:
            await _answer(made, "bob", "CatalogService.ListModels")
            await _answer(made, "bob", "ModelAdminService.ListDevices")
            await _answer(made, "cvs_wrong", "CatalogService.ListModels")
            return made.tokens

    with caplog.at_level(logging.DEBUG):
        tokens = asyncio.run(scene())
    lines = [record.getMessage() for record in caplog.records if record.name == "convscope_server.audit"]
    assert [line.split(" peer=")[0] for line in lines[-3:]] == [
        "allowed rpc=CatalogService.ListModels principal='bob' admin=false means=token",
        "denied rpc=ModelAdminService.ListDevices principal='bob' admin=false means=token",
        "denied rpc=CatalogService.ListModels principal='' admin=false means=none",
    ]
    assert "reason=ADMIN_ONLY" in lines[-2]
    assert "reason=TOKEN_INVALID" in lines[-1]
    for secret in (*tokens.values(), "cvs_wrong"):
        assert secret not in caplog.text


@in_loop
async def test_a_server_without_tokens_takes_everyone_for_its_own(tmp_path: Path) -> None:
    async with serving(catalog_engine(), tmp_path / "data") as port:
        made = House(port, {})
        request = visualization_service_pb2.SubmitRunRequest(request=visualize())
        submitted = await port.visualization.SubmitRun(request)
        assert await _answer(House(port, {}, submitted.run.id), "", "VisualizationService.GetRun") == "OK"
        assert await _answer(made, "", "ModelAdminService.ListDevices") == "OK"
        assert isinstance(submitted.run, run_pb2.Run)
