from __future__ import annotations

from pathlib import Path

import pytest

from convscope_server.config import Settings, SettingsError


def load(tmp_path: Path, toml: str = "", env: dict[str, str] | None = None, **flags: object) -> Settings:
    file = tmp_path / "convscope.toml"
    file.write_text(toml)
    return Settings.load(file, env or {}, flags)


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    toml = "port = 1\nmax_queued = 1\nmax_live_runs = 1\n"
    env = {"CONVSCOPE_PORT": "2", "CONVSCOPE_MAX_QUEUED": "2"}
    settings = load(tmp_path, toml, env, port=3, max_queued=None)
    assert (settings.port, settings.max_queued, settings.max_live_runs) == (3, 2, 1)


def test_defaults_are_local_and_bounded() -> None:
    settings = Settings.load(None, {"HOME": "/someone"}, {})
    assert (settings.host, settings.port) == ("127.0.0.1", 8470)
    assert settings.data_dir == Path("/someone/.local/share/convscope")
    assert settings.max_upload_bytes == 256 * 2**20
    assert not settings.insecure


def test_the_data_directory_follows_xdg() -> None:
    assert Settings.load(None, {"XDG_DATA_HOME": "/elsewhere"}, {}).data_dir == Path("/elsewhere/convscope")


def test_lists_are_comma_separated_in_the_environment_and_lists_in_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, 'plugin_files = ["a.py"]', {"CONVSCOPE_DEVICES": "cpu, cuda:0"})
    assert settings.devices == ("cpu", "cuda:0")
    assert settings.plugin_files == ("a.py",)


def test_sizes_are_read_in_words(tmp_path: Path) -> None:
    assert load(tmp_path, 'max_upload_bytes = "64 MiB"').max_upload_bytes == 64 * 2**20


@pytest.mark.parametrize(
    ("toml", "env", "flags", "source"),
    [
        ('port = "many"', {}, {}, "convscope.toml: port"),
        ("", {"CONVSCOPE_PORT": "many"}, {}, "CONVSCOPE_PORT: "),
        ("", {}, {"port": "many"}, "--port: "),
        ("", {}, {"log_format": "xml"}, "--log-format: "),
        ("", {}, {"plugin_files": "many", "data_dir": 1}, "--data: "),
    ],
)
def test_an_error_names_source_key_and_value(
    tmp_path: Path, toml: str, env: dict[str, str], flags: dict[str, str], source: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, toml, env, **flags)
    assert source in str(caught.value)
    assert any(given in str(caught.value) for given in ("many", "xml", "not 1"))


def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"convscope\.toml: prot: no such setting; did you mean port"):
        load(tmp_path, "prot = 1")
    with pytest.raises(SettingsError, match="CONVSCOPE_DEVICE: no such setting; did you mean devices"):
        load(tmp_path, env={"CONVSCOPE_DEVICE": "cpu"})


def test_variables_of_the_client_and_of_kubernetes_are_left_alone(tmp_path: Path) -> None:
    env = {
        "CONVSCOPE_SERVER": "gpu-box:8470",
        "CONVSCOPE_TOKEN": "t",
        "CONVSCOPE_PORT": "tcp://10.0.0.1:8470",
        "CONVSCOPE_SERVICE_HOST": "10.0.0.1",
        "CONVSCOPE_PORT_8470_TCP_ADDR": "10.0.0.1",
    }
    assert load(tmp_path, env=env).port == 8470


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "gpu-box"])
def test_other_machines_are_served_only_securely_or_when_asked_twice(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match=r"--host: .*TLS and a check of who asks.*ssh.*--insecure --insecure"):
        load(tmp_path, host=host)
    with pytest.raises(SettingsError, match=r"--host: .*a check of who asks would be missing.*--tokens-file"):
        load(tmp_path, host=host, insecure=1, tls_self_signed=True)
    with pytest.raises(SettingsError, match=r"--host: .*, and TLS would be missing.*--tls-self-signed"):
        load(tmp_path, host=host, tokens_file=tmp_path / "tokens.toml")
    assert load(tmp_path, host=host, insecure=2).host == host
    assert load(tmp_path, host=host, tls_self_signed=True, tokens_file=tmp_path / "tokens.toml").host == host
    tls = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    assert load(tmp_path, host=host, **tls, tls_client_ca=tmp_path / "ca.pem").host == host
    assert load(tmp_path, host=host, **tls, oidc_issuer="https://login.example.org").host == host


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"tls_cert": "a.pem"}, "tls_cert and tls_key go together"),
        ({"tls_key": "a.pem"}, "tls_cert and tls_key go together"),
        ({"tls_cert": "a.pem", "tls_key": "b.pem", "tls_self_signed": True}, "choose"),
        ({"tls_client_ca": "a.pem"}, "takes tls_cert or tls_self_signed"),
        ({"oidc_jwks_file": "a.json"}, "needs oidc_issuer"),
    ],
)
def test_settings_that_go_together_come_together(tmp_path: Path, flags: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        load(tmp_path, **flags)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_the_own_machine_is_served_without_ado(tmp_path: Path, host: str) -> None:
    assert load(tmp_path, host=host).host == host


def test_a_file_that_is_no_toml_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"convscope\.toml: is no TOML file"):
        load(tmp_path, "port =")
    with pytest.raises(SettingsError, match=r"missing\.toml: cannot be read"):
        Settings.load(tmp_path / "missing.toml", {}, {})


def test_the_file_of_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "convscope.toml").write_text("port = 9")
    monkeypatch.chdir(tmp_path)
    assert Settings.load(None, {}, {}).port == 9


def test_plugins_are_chosen_by_list_and_an_empty_one_is_none(tmp_path: Path) -> None:
    assert load(tmp_path).allow_plugins is None
    assert load(tmp_path, env={"CONVSCOPE_PLUGINS": ""}).allow_plugins == ()
    assert load(tmp_path, env={"CONVSCOPE_PLUGINS": "a, b-*"}).allow_plugins == ("a", "b-*")
    assert load(tmp_path, deny_plugins="c").deny_plugins == ("c",)


def test_a_plugins_own_python_has_to_be_a_program(tmp_path: Path) -> None:
    import sys

    found = load(tmp_path, f'[plugins.acme]\npython = "{sys.executable}"\ndevice = "cuda:1"\n').plugins["acme"]
    assert (str(found.python), found.device) == (sys.executable, "cuda:1")
    with pytest.raises(SettingsError, match="is no program"):
        load(tmp_path, '[plugins.acme]\npython = "/nowhere/bin/python"\n')


def test_a_database_is_a_postgresql_url_whose_password_no_message_shows(tmp_path: Path) -> None:
    url = "postgresql://ada:secret@db/convscope"
    settings = load(tmp_path, env={"CONVSCOPE_DATABASE": url.replace("postgresql", "postgres")})
    assert settings.database == url
    assert "secret" not in repr(settings)
    with pytest.raises(SettingsError, match=r"CONVSCOPE_DATABASE: is no URL postgresql://USER@HOST/NAME") as refusal:
        load(tmp_path, env={"CONVSCOPE_DATABASE": "mysql://ada:secret@db/x"})
    assert "secret" not in str(refusal.value)
