from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import convscope
from convscope._wire_values import from_struct
from convscope.cli import exits, options
from convscope.cli.app import build
from convscope.testing import FakeServer, failed, image, note, preview, progress, succeeded
from support.grpc_fake import serving

RED = Image.new("RGB", (16, 8), "red")
SCHEMA = {
    "type": "object",
    "properties": {
        "target": {"type": ["string", "integer"], "default": "top1", "description": "What to explain."},
        "steps": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5, "description": "How many."},
    },
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeServer:
    """A server that every command finds, whether it looks for one or embeds one."""
    fake = FakeServer()
    fake.add_technique(
        "saliency",
        [progress(1, 2, loss=0.5), preview(RED), note("a note"), image("input", RED), image("saliency", RED), done()],
        summary="Where the score comes from.",
        params_schema=SCHEMA,
        needs=["image"],
        cites="Simonyan et al. 2013",
    )
    fake.add_technique("dream", [done()], params_schema=SCHEMA, resumable=True, steers=["target", "steps"])
    fake.add_technique("broken", [failed("INTERNAL", "a bug; reference 42", reason="TECHNIQUE_FAILED")])
    fake.add_technique("lost", [failed("NOT_FOUND", "no layer 'x'; did you mean 'y'?", reason="LAYER_NOT_FOUND")])
    fake.add_technique("interrupted", _interrupted)
    fake.add_model("tiny", layers=[("conv", "Conv2d")], aliases={"last_conv": "conv"})
    fake.add_plugin("theirs", reason="no module named x")
    monkeypatch.setattr(options, "embedded", lambda **_: fake.client())
    monkeypatch.setattr(options, "connect", lambda *_, **__: fake.client())
    monkeypatch.delenv("CONVSCOPE_SERVER", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return fake


def done() -> Any:
    return succeeded({"loss": 0.25}, notes=["a note"], predictions=[(285, "Egyptian cat", 0.39)])


def _interrupted(_: object) -> Iterator[Any]:
    yield progress(1, 2)
    raise KeyboardInterrupt


def call(*words: str) -> Result:
    return CliRunner().invoke(build(), words)


def test_a_run_saves_its_results_and_says_what_they_mean(server: FakeServer, tmp_path: Path) -> None:
    RED.save("cat.png")
    done = call(
        "run", "saliency", "--image", "cat.png", "-p", "target=285", "--seed", "7", "--label", "a=b", "--out", "o"
    )
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"input.png", "saliency.png", "report.json"}
    assert "39.0%  Egyptian cat" in done.stdout
    assert "loss: 0.25" in done.stdout
    assert str(Path("o/saliency.png")) in done.stdout
    request = server.sent("Visualize")[0]
    assert request.image.encoded == Path("cat.png").read_bytes()
    assert (from_struct(request.params), request.seed, dict(request.labels)) == ({"target": 285}, 7, {"a": "b"})


def test_results_go_to_a_folder_of_their_own_where_none_is_named(server: FakeServer, tmp_path: Path) -> None:
    RED.save("cat.png")
    assert call("run", "saliency", "-i", "cat.png").exit_code == 0
    [folder] = tmp_path.glob("saliency-*")
    assert (folder / "report.json").is_file()


def test_json_is_all_that_goes_to_standard_output(server: FakeServer) -> None:
    found = json.loads(call("run", "saliency", "--json", "--out", "o").stdout)
    assert found["report"]["scores"] == {"loss": 0.25}
    assert found["files"] == [str(Path("o") / name) for name in ("input.png", "saliency.png", "report.json")]


def test_a_preview_is_drawn_in_half_blocks_on_request(server: FakeServer) -> None:
    assert "▀▀" in call("run", "saliency", "--preview").stdout
    assert "▀" not in call("run", "saliency").stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "broken"), exits.FAILED, "a bug; reference 42"),
        (("run", "lost"), exits.NOT_FOUND, "no layer 'x'; did you mean 'y'?"),
        (("run", "none"), exits.NOT_FOUND, "no technique 'none'"),
        (("run", "saliency", "-m", "none"), exits.NOT_FOUND, "no model 'none'"),
        (("run", "saliency", "-i", "no.jpg"), exits.USAGE, "cannot read the picture 'no.jpg'"),
        (("describe", "none"), exits.NOT_FOUND, "no technique 'none'"),
        (("layers", "none"), exits.NOT_FOUND, "no model 'none'"),
        (("cancel", "0" * 32), exits.NOT_FOUND, "no run"),
        (("pause", "0" * 32), exits.NOT_FOUND, "no run"),
        (("update", "0" * 32, "-p", "a=1"), exits.NOT_FOUND, "no run"),
        (("runs", "--state", "done"), exits.USAGE, "no run state 'done'"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    server: FakeServer, words: tuple[str, ...], code: int, message: str
) -> None:
    done = call(*words)
    assert done.exit_code == code
    assert done.stderr.startswith("convscope: ")
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run",), "TECHNIQUE"),
        (("run", "saliency", "-p", "steps"), "write -p KEY=VALUE"),
        (("run", "saliency", "-p", "image=x.png"), "'image' is no parameter"),
        (("run", "saliency", "--update", "steps=3"), "write --update STEP:KEY=VALUE, not 'steps=3'"),
        (("run", "saliency", "--update", "5:steps"), "write --update 5: KEY=VALUE, not 'steps'"),
        (("run", "saliency", "-p", "updates=3"), "'updates' is no parameter"),
        (("run", "saliency", "--seed", "-1"), "--seed"),
        (("run", "saliency", "--detach"), "--detach needs a server"),
        (("run", "saliency", "--animation", "film.mp4"), "film.mp4 ends in none of .webp, .gif, .png"),
        (("run", "saliency", "--detach", "--server", "x", "--animation", "f.gif"), "--detach does not wait"),
        (("run", "saliency", "--server", "x", "--plugin", "p.py"), "start the server with them"),
        (("fly",), "fly"),
    ],
)
def test_wrong_usage_is_explained(server: FakeServer, words: tuple[str, ...], message: str) -> None:
    done = call(*words)
    assert done.exit_code == exits.USAGE
    assert message in done.stderr


def test_ctrl_c_cancels_the_run_and_says_so(server: FakeServer) -> None:
    done = call("run", "interrupted")
    assert done.exit_code == exits.INTERRUPTED == 130
    [request] = server.sent("CancelRun")
    assert f"cancelled run {request.run}" in done.stderr


def test_ctrl_c_while_watching_leaves_the_run_alone(server: FakeServer) -> None:
    run = server.client().visualize("interrupted", detach=True)
    done = call("watch", run.id)
    assert done.exit_code == exits.INTERRUPTED
    assert f"convscope watch {run.id} --after 3" in done.stderr
    assert server.sent("CancelRun") == []


def test_a_detached_run_prints_its_id_and_can_be_watched_and_cancelled(server: FakeServer) -> None:
    run_id = call("run", "saliency", "--detach", "--server", "here").stdout.strip()
    assert call("cancel", run_id).stdout == f"{run_id} is asked to end\n"
    assert call("watch", run_id).exit_code == exits.FAILED
    assert "has ended: cancelled" in call("cancel", run_id).stdout
    assert [run["id"] for run in json.loads(call("runs", "--json").stdout)] == [run_id]
    assert call("runs").stdout.split("\t")[:3] == [run_id, "cancelled", "saliency"]


def test_a_run_can_be_paused_resumed_and_updated(server: FakeServer) -> None:
    run_id = call("run", "dream", "--detach", "--server", "here").stdout.strip()
    assert call("pause", run_id).stdout == f"{run_id} is paused\n"
    assert call("runs", "--state", "paused").stdout.split("\t")[:2] == [run_id, "paused"]
    assert call("update", run_id, "-p", "steps=3", "-p", "target=0:1").stdout == (
        f"{run_id} steps=3, target=0:1 behind step 0\n"
    )
    assert call("resume", run_id).stdout == f"{run_id} goes on\n"
    assert json.loads(call("update", run_id, "-p", "steps=4", "--json").stdout)["updates"][1] == [0, {"steps": 4}]
    assert call("watch", run_id).exit_code == 0
    assert call("pause", run_id).stdout == call("resume", run_id).stdout == f"{run_id} has ended: succeeded\n"
    assert [info["state"] for info in json.loads(call("resume", run_id, "--json").stdout)] == ["succeeded"]


def test_changes_on_the_way_are_sent_by_rising_step_with_values_of_their_types(server: FakeServer) -> None:
    said = call("run", "dream", "--update", "9:steps=3", "--update", "4:steps=2", "--update", "4:target=conv:3@1,1")
    assert said.exit_code == 0, said.output
    sent = [(u.step, from_struct(u.params)) for u in server.sent("Visualize")[0].updates]
    assert sent == [(4, {"steps": 2, "target": "conv:3@1,1"}), (9, {"steps": 3})]


def test_runs_are_listed_with_their_priority_and_device_time(server: FakeServer) -> None:
    server.client().visualize("saliency", priority="batch", labels={"a": "b"})
    cells = call("runs").stdout.rstrip("\n").split("\t")
    assert (cells[4], cells[5], cells[7]) == ("batch", "0.0 s", "a=b")


def test_watching_saves_results_where_it_is_told(server: FakeServer, tmp_path: Path) -> None:
    run = server.client().visualize("saliency", detach=True)
    assert call("watch", run.id, "--out", "w").exit_code == 0
    assert (tmp_path / "w" / "saliency.png").is_file()


def test_a_run_can_be_saved_as_an_animation(server: FakeServer, tmp_path: Path) -> None:
    server.add_technique("dream", [preview(Image.new("RGB", (16, 8), "blue")), image("dream", RED), done()])
    said = call("run", "dream", "--animation", "films/dream.webp")
    assert said.exit_code == 0, said.output
    assert str(Path("films/dream.webp")) in said.stdout
    assert _frames(tmp_path / "films" / "dream.webp") == 2
    assert server.sent("Visualize")[0].previews.HasField("min_interval")
    run = server.client().visualize("dream", detach=True)
    assert call("watch", run.id, "--animation", "again.gif").exit_code == 0
    assert _frames(tmp_path / "again.gif") == 2


def _frames(file: Path) -> int:
    with Image.open(file) as film:
        return int(film.n_frames)  # type: ignore[attr-defined]


def test_a_run_without_previews_has_no_animation_but_its_results(server: FakeServer, tmp_path: Path) -> None:
    server.add_technique("still", [image("still", RED), done()])
    said = call("run", "still", "--out", "o", "--animation", "still.gif")
    assert said.exit_code == exits.REFUSED
    assert "no previews to animate" in said.stderr
    assert (tmp_path / "o" / "still.png").is_file()
    assert not (tmp_path / "still.gif").exists()


@pytest.mark.parametrize("listing", ["techniques", "models", "plugins", "runs"])
def test_every_listing_has_json_and_lines(server: FakeServer, listing: str) -> None:
    server.client().visualize("saliency", labels={"a": "b"})
    found = json.loads(call(listing, "--json").stdout)
    assert len(found) == len(call(listing).stdout.splitlines()) > 0


def test_layers_show_their_aliases(server: FakeServer) -> None:
    assert call("layers", "tiny").stdout == "conv\tConv2d\t8x4x4\t-\t-\tlast_conv\n"
    assert json.loads(call("layers", "tiny", "--json").stdout)["aliases"] == {"last_conv": "conv"}


def test_a_technique_is_described_with_its_parameters_paper_and_an_example(server: FakeServer) -> None:
    text = call("describe", "saliency").stdout
    assert "Where the score comes from." in text
    assert "after Simonyan et al. 2013" in text
    assert "steps\tinteger\t5\t≥ 1, ≤ 9\tHow many." in text
    assert "Try: convscope run saliency --image cat.jpg -p target=top1" in text
    assert json.loads(call("describe", "saliency", "--json").stdout)["params_schema"] == SCHEMA


def test_a_technique_is_described_with_what_changes_on_the_way(server: FakeServer) -> None:
    assert "can be paused; `convscope update` changes on the way: steps, target\n" in call("describe", "dream").stdout
    assert "paused" not in call("describe", "saliency").stdout


def test_broken_plugins_are_listed_with_their_reason(server: FakeServer) -> None:
    assert "failed\t-\tno module named x" in call("plugins").stdout


def test_a_server_that_is_not_there_gives_its_own_exit_code() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = call("techniques", "--server", f"127.0.0.1:{port}")
    assert done.exit_code == exits.UNREACHABLE
    assert "is `convscope serve` running there?" in done.stderr


def test_the_environment_names_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeServer()
    fake.add_technique("over_the_wire", [])
    with serving(fake) as port:
        monkeypatch.setenv("CONVSCOPE_SERVER", f"127.0.0.1:{port}")
        assert call("techniques").stdout.startswith("over_the_wire")


def test_a_token_in_the_environment_stays_off_the_open_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVSCOPE_TOKEN", "secret")
    done = call("techniques", "--server", "gpu-box:1")
    assert done.exit_code == exits.USAGE
    assert "in the clear" in done.stderr


def test_settings_that_cannot_be_used_stop_the_server_with_their_source() -> None:
    done = call("serve", "--port", "99999", "--host", "0.0.0.0")
    assert done.exit_code == exits.USAGE
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_flags_of_serve_become_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from convscope_server import app

    seen: list[Any] = []
    monkeypatch.setattr(app, "serve", lambda settings: seen.append(settings) or 7)
    flags = ("--port", "0", "--devices", "cpu", "--models", str(tmp_path), "--plugin", "a.py", "--plugin", "b.py")
    more = ("--data", str(tmp_path / "d"), "--strict", "--allow-code", "--log-format", "json", "--warm", "")
    assert call("serve", *flags, *more).exit_code == 7
    [settings] = seen
    assert (settings.port, settings.devices, settings.plugin_files) == (0, ("cpu",), ("a.py", "b.py"))
    assert (settings.models_dir, settings.data_dir) == (tmp_path, tmp_path / "d")
    assert (settings.strict, settings.allow_code, settings.log_format, settings.insecure) == (True, True, "json", 0)
    assert settings.warm_models == ()


def test_a_token_is_made_listed_and_revoked(tmp_path: Path) -> None:
    file = ("--tokens-file", str(tmp_path / "tokens.toml"))
    made = call("token", "create", "ada", "--admin", "--days", "30", *file)
    token = made.stdout.strip()
    assert token.startswith("cvs_")
    assert "shown only now" in made.stderr
    assert token not in made.stderr
    listed = call("token", "list", *file).stdout
    assert "ada" in listed
    assert "yes" in listed
    assert token not in listed
    assert call("token", "revoke", "ada", *file).stdout.startswith("revoked ")
    assert call("token", "revoke", "ada", *file).exit_code == exits.NOT_FOUND
    assert call("token", "create", "a b", *file).exit_code == exits.USAGE
    assert call("token", "list", "--tokens-file", str(tmp_path / "none.toml")).exit_code == exits.USAGE


def test_security_flags_of_serve_become_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from convscope_server import app

    seen: list[Any] = []
    monkeypatch.setattr(app, "serve", lambda settings: seen.append(settings) or 0)
    tokens = str(tmp_path / "t.toml")
    call("serve", "--host", "0.0.0.0", "--tls-self-signed", "--tokens-file", tokens)
    call("serve", "--host", "0.0.0.0", "--insecure", "--insecure")
    assert [(s.tls_self_signed, s.tokens_file, s.insecure) for s in seen] == [(True, Path(tokens), 0), (False, None, 2)]
    once = call("serve", "--host", "0.0.0.0", "--insecure")
    assert once.exit_code == exits.USAGE
    assert "--insecure --insecure" in " ".join(once.stderr.replace("│", " ").split())


def test_help_documents_the_exit_codes() -> None:
    for words in ((), ("run",), ("watch",)):
        text = " ".join(call(*words, "--help").stdout.split())
        assert "Exit codes: 0 done, 1 the run failed" in text
        assert "130 stopped by Ctrl-C" in text


def test_every_command_of_the_design_is_there() -> None:
    text = call("--help").stdout
    names = [
        "serve",
        "run",
        "watch",
        "runs",
        "cancel",
        "pause",
        "resume",
        "update",
        "techniques",
        "describe",
        "models",
        "layers",
        "plugins",
        "check",
        "new",
        "demo",
        "token",
    ]
    assert all(f"\n  {name} " in text for name in names)


@pytest.mark.parametrize(
    "kind", [getattr(convscope, name) for name in convscope.errors.__all__[:-1] if name != "FieldViolation"]
)
def test_every_error_has_an_exit_code(kind: type[convscope.ConvscopeError]) -> None:
    assert exits.code_of(kind("x")) in {1, 2, 3, 4, 5}


def test_the_module_can_be_run() -> None:
    done = subprocess.run([sys.executable, "-m", "convscope", "--help"], capture_output=True, text=True, check=True)
    assert "See what a convolutional network sees." in done.stdout
