"""Every setting of a server, and where its value came from."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from convscope_sdk.errors import near_names

__all__ = ["Settings", "SettingsError", "tokens_home"]

_ENV = "CONVSCOPE_"
_SAID_TWICE = 2
# What the client reads from the same prefix, and what Kubernetes sets for a service called "convscope".
_NOT_OURS = re.compile(r"SERVER|TOKEN|CA|PROFILES|(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP)(_.+)?)")
# Flags that have a shorter name than their setting.
_FLAGS = {
    "data_dir": "data",
    "image_sets_dir": "image-sets",
    "models_dir": "models",
    "plugin_files": "plugin",
    "warm_models": "warm",
}


class SettingsError(ValueError):
    """A setting that cannot be used; the message names its source (flag, variable or file) and its key."""


def _as_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


_Words = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


def _data_home(env: Mapping[str, str]) -> Path:
    home = env.get("XDG_DATA_HOME") or Path(env.get("HOME", "~")).expanduser() / ".local" / "share"
    return Path(home) / "convscope"


def tokens_home(env: Mapping[str, str]) -> Path:
    """Where `convscope token` keeps tokens unless told otherwise: beside the data that they guard."""
    return Path(env.get("CONVSCOPE_DATA_DIR") or _data_home(env)) / "tokens.toml"


class PluginEnvironment(BaseModel):
    """A plugin's own Python; see `engine.options.Environment`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    python: Path
    device: str = ""

    @field_validator("python")
    @classmethod
    def _an_interpreter(cls, python: Path) -> Path:
        python = python.expanduser().absolute()
        if not os.access(python, os.X_OK):
            raise ValueError(f"{python} is no program; name the interpreter of a virtual environment, bin/python")
        return python


class Settings(BaseModel):
    """The settings of one server; unknown keys are refused. Times are in seconds, sizes in bytes ("64 MiB" is read)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    insecure: int = Field(
        default=0, ge=0, le=2, description="2 serves other machines without TLS or without asking who they are."
    )
    tls_cert: Path | None = Field(default=None, description="PEM file of the server's certificate.")
    tls_key: Path | None = Field(default=None, description="PEM file of its private key.")
    tls_client_ca: Path | None = Field(
        default=None, description="PEM file of the authorities that sign clients' certificates; each client needs one."
    )
    tls_self_signed: bool = Field(default=False, description="Make a certificate in the data directory, and renew it.")
    tls_names: _Words = Field(default=(), description="Names and addresses for that certificate besides the machine's.")
    tokens_file: Path | None = Field(default=None, description="Tokens of principals, as hashes.")
    oidc_issuer: str = Field(default="", description="Issuer whose JSON Web Tokens let in: an https URL.")
    oidc_audience: str = Field(default="convscope", min_length=1, description="What their `aud` must hold.")
    oidc_jwks_file: Path | None = Field(default=None, description="The issuer's public keys; asked of it where absent.")
    oidc_name_claim: str = Field(default="sub", min_length=1, description="Claim that names the principal.")
    oidc_admin_claim: str = Field(default="roles", min_length=1, description="Claim, a list, that can make an admin.")
    oidc_admin_value: str = Field(default="convscope-admin", min_length=1, description="The word in it that does.")
    admins: _Words = Field(default=(), description="Principals who are admins, however they are let in.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8470, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    data_dir: Path = Field(
        default_factory=lambda: _data_home(os.environ), description="Directory of runs, events, images and results."
    )
    devices: _Words = Field(default=(), description="Devices to use (cpu, cuda:0); every usable one where empty.")
    models_dir: Path | None = Field(
        default=None, description="Directory of models, NAME/model.toml each; `models` in data_dir where absent."
    )
    image_sets_dir: Path | None = Field(
        default=None,
        description="Directory of image sets, a folder each; torchvision's data sets are looked for there too.",
    )
    plugin_files: _Words = Field(default=(), description="Loose plugin files to load besides installed plugins.")
    allow_plugins: _Words | None = Field(
        default=None,
        description="Installed plugins to load, by distribution or entry point, with `*`; all where absent, none but "
        "the built-ins where empty. CONVSCOPE_PLUGINS says the same.",
    )
    deny_plugins: _Words = Field(default=(), description="Installed plugins never to load, likewise.")
    plugins: dict[str, PluginEnvironment] = Field(
        default_factory=dict,
        description="Plugins with a Python of their own: `[plugins.NAME]` with `python` and, if need be, `device`. "
        "Only in convscope.toml.",
    )
    strict: bool = Field(default=False, description="Refuse to start where a plugin cannot be loaded.")
    allow_code: bool = Field(default=False, description="Let model.toml name Python code as the architecture.")
    stall_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Longest step where the technique states no shorter limit; 0 takes each technique's own.",
    )
    max_run_memory_bytes: ByteSize = Field(
        default=ByteSize(0),
        ge=0,
        description="Bytes that one run may take; 0 takes half of the machine's and no limit on a GPU but its own.",
    )
    start_seconds: float = Field(default=300.0, gt=0, description="Time that a worker may take to become ready.")
    warm_models: _Words = Field(
        default=("efficientnet_lite0",), description="Models to load before the server is ready."
    )
    model_budget_bytes: ByteSize = Field(
        default=ByteSize(0), ge=0, description="Bytes that models may take on a device; 0 chooses by its memory."
    )
    device_memory_bytes: ByteSize = Field(
        default=ByteSize(0),
        ge=0,
        description="Bytes that models and runs may take on a device together; 0 chooses by its memory.",
    )
    max_live_runs: int = Field(default=8, ge=1, le=1024, description="Runs that take turns on one device.")
    max_batch: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Runs of a batchable technique that may share a pass; 0 takes 8 on an accelerator, 1 on a CPU.",
    )
    principal_running: int = Field(default=0, ge=0, description="Runs on devices for each principal; 0 for any number.")
    principal_queued: int = Field(default=0, ge=0, description="Runs that wait for each principal; 0 for any number.")
    principal_device_seconds: float = Field(
        default=0.0, ge=0, description="Device seconds in an hour for each principal; 0 for any number."
    )
    principal_stored_bytes: ByteSize = Field(
        default=ByteSize(0), ge=0, description="Bytes of runs and uploads kept for each principal; 0 for any number."
    )
    ageing: float = Field(
        default=60.0, gt=0, description="Seconds of waiting that make a run as urgent as the next priority."
    )
    cache: bool = Field(default=True, description="Compute identical runs once: join them, or repeat their logs.")
    max_queued: int = Field(default=1000, ge=1, description="Runs that may wait for a device.")
    max_image_pixels: int = Field(default=50_000_000, ge=1, description="Pixels that a picture may have.")
    max_upload_bytes: ByteSize = Field(
        default=ByteSize(256 * 2**20), ge=1, description="Bytes that one upload may have."
    )
    database: str = Field(
        default="",
        repr=False,  # it may hold a password
        description="PostgreSQL database of runs and image sets, postgresql://USER@HOST/NAME; SQLite in data_dir where "
        "absent.",
    )
    min_free_bytes: ByteSize = Field(
        default=ByteSize(64 * 2**20),
        ge=0,
        description="Room on the disk of data_dir below which new runs and uploads are refused: others need it to end.",
    )
    keep_seconds: float = Field(
        default=0.0, ge=0, description="Time after its end that a run is kept; 0 keeps it until somebody deletes it."
    )
    keep_bytes: ByteSize = Field(
        default=ByteSize(0),
        ge=0,
        description="Bytes that runs may take together, logs, inputs and results; beyond it those go that ended first. "
        "0 sets no bound.",
    )
    keep_upload_seconds: float = Field(
        default=86400.0, ge=60, description="Time that an upload is kept which no run and no image set refers to."
    )
    tidy_seconds: float = Field(
        default=600.0, gt=0, description="Time between two looks for what is not to be kept any more."
    )
    checkpoint_seconds: float = Field(
        default=5.0,
        ge=0,
        description="Least time between two checkpoints of a run, from which it goes on when its worker is lost. "
        "0: none but those of runs that are paused or give way.",
    )
    drain_grace: float = Field(default=30.0, ge=0, description="Time that live runs have to end at shut-down.")
    disconnect_grace: float = Field(
        default=60.0,
        ge=0.1,  # a run is stored before its first watcher is there
        description="Time after its last watcher left until a run with on_disconnect = cancel is cancelled.",
    )
    keepalive_time: float = Field(default=20.0, gt=0, description="Silence after which a connection is pinged.")
    keepalive_timeout: float = Field(
        default=10.0, gt=0, description="Wait for the answer to a ping before a connection is dropped."
    )
    keepalive_min_client_interval: float = Field(default=10.0, ge=0, description="How often clients may ping.")
    log_format: Literal["text", "json"] = Field(
        default="text", description="One line of text or of JSON for each entry."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level to log.")

    @property
    def has_tls(self) -> bool:
        """Whether the port speaks TLS."""
        return self.tls_self_signed or self.tls_cert is not None

    @property
    def asks_who(self) -> bool:
        """Whether callers have to show who they are."""
        return self.tokens_file is not None or bool(self.oidc_issuer) or self.tls_client_ca is not None

    @field_validator("host")
    @classmethod
    def _loopback_unless_secured(cls, host: str, info: ValidationInfo) -> str:
        given = info.data
        tls = given.get("tls_self_signed") or given.get("tls_cert")
        asks = given.get("tokens_file") or given.get("oidc_issuer") or given.get("tls_client_ca")
        if _is_loopback(host) or (tls and asks) or given.get("insecure", 0) >= _SAID_TWICE:
            return host
        lacks = " and ".join(word for word, there in (("TLS", tls), ("a check of who asks", asks)) if not there)
        raise ValueError(
            f"{host} can be reached from other machines, and {lacks} would be missing. Add --tls-self-signed (or "
            "--tls-cert and --tls-key) and --tokens-file (`convscope token create NAME` makes one); or stay on "
            "127.0.0.1 and come in through `ssh -L 8470:localhost:8470 THIS_MACHINE`; or, on a network where everyone "
            "may run anything, say --insecure --insecure"
        )

    @field_validator("database")
    @classmethod
    def _postgresql(cls, url: str) -> str:
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("is no URL postgresql://USER@HOST/NAME; leave it out for SQLite in data_dir")
        return url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url

    @model_validator(mode="after")
    def _whole_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: the certificate, and its private key")
        if self.tls_self_signed and self.tls_cert is not None:
            raise ValueError("tls_self_signed makes a certificate, and tls_cert names one: choose")
        if self.tls_client_ca is not None and not self.has_tls:
            raise ValueError("tls_client_ca checks clients' certificates, which takes tls_cert or tls_self_signed")
        if self.oidc_jwks_file is not None and not self.oidc_issuer:
            raise ValueError("oidc_jwks_file needs oidc_issuer: what the tokens' `iss` must be")
        return self

    @field_validator(
        "data_dir",
        "image_sets_dir",
        "models_dir",
        "tls_cert",
        "tls_key",
        "tls_client_ca",
        "tokens_file",
        "oidc_jwks_file",
    )
    @classmethod
    def _expanded(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @classmethod
    def load(
        cls,
        toml: Path | None = None,
        env: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Self:
        """The settings from the file, overruled by the environment (`CONVSCOPE_PORT`), overruled by `flags`.

        Args:
            toml: A convscope.toml with keys at its top level; absent, the working directory's is read if there is one.
            env: The environment; `os.environ` where absent. Lists are comma-separated.
            flags: Values by key; None means that the flag was not given.

        Raises:
            SettingsError: one line for each value at fault, with its source and key.
        """
        env = os.environ if env is None else env
        sources: dict[str, str] = {}
        values: dict[str, Any] = {"data_dir": _data_home(env)}
        for key, value, source in (*_from_toml(toml), *_from_env(env), *_from_flags(flags or {})):
            values[key], sources[key] = value, source
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise SettingsError("\n".join(_problems(error, sources, cls))) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


_Found = Iterator[tuple[str, Any, str]]


def _from_toml(path: Path | None) -> _Found:
    if path is None:
        path = Path("convscope.toml")
        if not path.is_file():
            return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is no TOML file: {error}") from None
    for key, value in values.items():
        yield key, value, f"{path}: {key}"


def _from_env(env: Mapping[str, str]) -> _Found:
    for name, value in env.items():
        key = name.removeprefix(_ENV)
        if name.startswith(_ENV) and not _NOT_OURS.fullmatch(key) and not value.startswith("tcp://"):
            yield "allow_plugins" if key == "PLUGINS" else key.lower(), value, name


def _from_flags(flags: Mapping[str, Any]) -> _Found:
    for key, value in flags.items():
        if value is not None:
            yield key, value, f"--{_FLAGS.get(key, key.replace('_', '-'))}"


def _problems(error: ValidationError, sources: Mapping[str, str], cls: type[Settings]) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False):
        key = str(problem["loc"][0]) if problem["loc"] else "settings"
        source = sources.get(key, key)
        if problem["type"] == "extra_forbidden":
            near = near_names(key, cls.model_fields)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(cls.model_fields)}"
            yield f"{source}: no such setting; {hint}"
        elif problem["type"] == "value_error":
            yield f"{source}: {problem['msg'].removeprefix('Value error, ')}"
        else:
            yield f"{source}: {problem['msg']}, not {problem['input']!r}"
