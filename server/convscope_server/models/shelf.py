"""Where models that runs train are put: into the directory of models, whole or not at all, and each by one run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import ValidationError

from convscope_sdk.errors import InvalidParams, TechniqueError, UnknownName
from convscope_sdk.events import Checkpoint, TrainedModel
from convscope_sdk.models import Architecture
from convscope_server.engine.messages import ModelInfo
from convscope_server.models.errors import ModelBroken
from convscope_server.models.sources.building import build_module
from convscope_server.models.sources.manifest import FILE_NAME, Manifest
from convscope_server.models.toml import to_toml
from convscope_server.runs.lock import lock_file

__all__ = ["CHECKPOINT", "Claim", "ModelNameTaken", "Shelf"]

CHECKPOINT = "checkpoint.safetensors"
"""The file with the last checkpoint, beside the model.toml or where there is none yet."""

_CLAIMS = ".claims"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_OURS = re.compile(r"\..*\.tmp|(weights|labels)-[0-9a-f]{12}\.(safetensors|txt)")
_HEADER = "convscope"


class ModelNameTaken(TechniqueError):
    """Another run or person has a model of that name."""

    code = "ALREADY_EXISTS"
    reason = "MODEL_NAME_TAKEN"


@dataclass(slots=True)
class Claim:
    """A name that is one run's alone until it is released or the process ends."""

    name: str
    run: str
    lock: IO[str]

    def release(self) -> None:
        """Let others have the name. Twice is fine."""
        self.lock.close()


class Shelf:
    """The directory that trained models go to; `FolderSource` reads the same.

    Weights are written first, under the digest of their bytes, and model.toml last by renaming: whenever the process
    is killed, the folder holds the old model, no model or the new one.

    Args:
        directory: Made with the first model; None where there is none, and nothing can be trained.
        architectures: What "convscope:ID" may name.
        listed: The models of every source, to keep names of other sources free of ours.
    """

    def __init__(
        self,
        directory: Path | None,
        *,
        architectures: Mapping[str, Architecture],
        listed: Callable[[], list[ModelInfo]] = list,
    ) -> None:
        self._directory = directory
        self._architectures = architectures
        self._listed = listed

    def claim(self, name: str, *, run: str, replace: bool = False) -> Claim:
        """Have the name for a run. Costs nothing but a look at the directory, so it comes before any work.

        Args:
            name: Of the model to be.
            run: Whose it will be; what the same run left there before its worker died is its own.
            replace: Whether a model of that name may be replaced.

        Raises:
            ModelNameTaken: a model or an unfinished training of that name is there, or another run makes one now.
            TechniqueError: the directory cannot be written to.
        """
        root = self._root()
        if not _NAME.fullmatch(name):
            raise InvalidParams(
                f"a model's name is letters, digits, '.', '_' and '-', not {name!r}", reason="MODEL_NAME_INVALID"
            )
        lock = _locked(root / _CLAIMS / f"{name}.lock", name)
        try:
            self._check_free(name, run, replace=replace)
        except TechniqueError:
            lock.close()
            raise
        return Claim(name, run, lock)

    def put(self, claim: Claim, model: TrainedModel, facts: Mapping[str, str | float]) -> dict[str, Any]:
        """Keep the model; gives a row that describes it. From now on the catalog has it.

        Raises:
            ModelBroken: the weights do not fit the architecture, or model.toml could not say so.
        """
        folder = self._root() / claim.name
        folder.mkdir(exist_ok=True)
        content = _safetensors(model.state_dict, {})
        digest = hashlib.sha256(content).hexdigest()
        names = {"weights": f"weights-{digest[:12]}.safetensors"}
        _write(folder / names["weights"], content)
        if model.labels:
            lines = "".join(f"{label}\n" for label in model.labels).encode()
            names["labels"] = f"labels-{hashlib.sha256(lines).hexdigest()[:12]}.txt"
            _write(folder / names["labels"], lines)
        text = _described(model, names, {**model.facts, **facts})
        manifest = _checked(text)
        build_module(claim.name, folder, manifest, len(model.labels), self._architectures)
        _write(folder / FILE_NAME, text.encode())
        _tidy(folder, keep=set(names.values()))
        return {
            "name": claim.name,
            "kind": model.kind,
            "architecture": model.architecture,
            "parameters": sum(int(value.numel()) for value in model.state_dict.values()),
            "weights": f"sha256:{digest}",
            "size_bytes": len(content),
        }

    def put_checkpoint(self, claim: Claim, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint, in place of the last one of that name."""
        folder = self._root() / claim.name
        folder.mkdir(exist_ok=True)
        header = {"step": checkpoint.step, "run": claim.run, "facts": dict(checkpoint.facts)}
        _write(folder / CHECKPOINT, _safetensors(checkpoint.tensors, {_HEADER: json.dumps(header)}))

    def checkpoint(self, name: str) -> Checkpoint:
        """The last checkpoint of the model `name`.

        Raises:
            UnknownName: there is none; carries near names.
            ModelBroken: the file is none of ours.
        """
        root = self._root()
        if not _NAME.fullmatch(name) or not (root / name / CHECKPOINT).is_file():
            there = sorted(file.parent.name for file in root.glob(f"*/{CHECKPOINT}"))
            raise UnknownName.among("checkpoint", name, there, hint="only a training leaves one to go on with")
        return _read_checkpoint(name, root / name / CHECKPOINT)

    def own_checkpoint(self, claim: Claim) -> Checkpoint | None:
        """What the claim's run itself left when its worker died, or None."""
        file = self._root() / claim.name / CHECKPOINT
        return _read_checkpoint(claim.name, file) if _run_of(file) == claim.run else None

    def _root(self) -> Path:
        if self._directory is None:
            raise TechniqueError("this worker has no directory of models to put one into; set models_dir")
        try:
            (self._directory / _CLAIMS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TechniqueError(
                f"{self._directory} cannot be written to ({error.strerror}), so no model can be put there; "
                f"set models_dir to a directory of the server's own",
                reason="MODELS_DIR_READ_ONLY",
            ) from error
        return self._directory

    def _check_free(self, name: str, run: str, *, replace: bool) -> None:
        folder = self._root() / name
        owners = {info.name: info.source for info in self._listed()}
        if owners.get(name, "folder") != "folder":
            raise _taken(name, f"is a model of source {owners[name]!r}; choose another name")
        if replace:
            return
        if (folder / FILE_NAME).exists() and _run_of(folder / FILE_NAME) != run:
            raise _taken(name, "is there already; choose another name, or set overwrite to replace it")
        if (folder / CHECKPOINT).exists() and _run_of(folder / CHECKPOINT) != run:
            raise _taken(name, "is an unfinished training; go on with it by resume, or set overwrite to begin anew")


def _taken(name: str, why: str) -> ModelNameTaken:
    return ModelNameTaken(f"model {name!r} {why}", metadata={"model": name})


def _locked(path: Path, name: str) -> IO[str]:
    """The open lock file, the caller's alone; never removed, so that two runs cannot hold two files of one name."""
    file = path.open("a")
    try:
        lock_file(file)
    except OSError:
        file.close()
        raise _taken(name, "is being trained by another run now; choose another name, or wait for its end") from None
    return file


def _described(model: TrainedModel, names: Mapping[str, str], facts: Mapping[str, str | float]) -> str:
    plain = {
        "architecture": model.architecture,
        **names,
        "input_size": model.input_size,
        "mean": list(model.mean),
        "std": list(model.std),
        "kind": model.kind,
        "code_shape": list(model.code_shape),
        "description": model.description,
    }
    given = {key: value for key, value in plain.items() if value not in ("", [])}
    codes = {} if model.codes is None else {key: v for key, v in asdict(model.codes).items() if v != ""}
    return to_toml(given, arguments=model.arguments, codes=codes, facts=facts)


def _checked(text: str) -> Manifest:
    try:
        return Manifest.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ModelBroken(
            f"the technique describes its model in a way that no model.toml can: {error}"[:400]
        ) from error


def _run_of(file: Path) -> str:
    """Which run wrote a model.toml or a checkpoint; "" where nobody knows."""
    try:
        if file.name == FILE_NAME:
            return str(tomllib.loads(file.read_text(encoding="utf-8")).get("facts", {}).get("run", ""))
        return str(_header(file)["run"])
    except (OSError, ValueError, KeyError, AttributeError):
        return ""


def _safetensors(tensors: Mapping[str, Any], metadata: dict[str, str]) -> bytes:
    from safetensors.torch import save

    return save({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, metadata or None)


def _header(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            header: dict[str, Any] = json.loads((opened.metadata() or {})[_HEADER])
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return header


def _read_checkpoint(name: str, file: Path) -> Checkpoint:
    from safetensors.torch import load_file

    try:
        header = _header(file)
        return Checkpoint(name, int(header["step"]), load_file(file), header["facts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelBroken(f"the checkpoint of model {name!r} cannot be read: {error}"[:300]) from error


def _write(path: Path, content: bytes) -> None:
    """The file with that content, whole or as it was before, whatever happens."""
    fresh = path.with_name(f".{path.name}.tmp")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _tidy(folder: Path, *, keep: set[str]) -> None:
    """Remove what an earlier model of that name, or a killed process, left behind of ours."""
    for file in folder.iterdir():
        if _OURS.fullmatch(file.name) and file.name not in keep:
            file.unlink(missing_ok=True)
