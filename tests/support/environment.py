"""A fresh virtual environment that sees what this one has, so that nothing is downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

__all__ = ["Environment"]


class Environment:
    """A virtual environment in `folder`; packages go into it without a network, and without their dependencies."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        # What is installed here, and this project's sources, which an editable installation only points to.
        paths = [path for path in sys.path if Path(path).is_dir() and not Path(path).is_relative_to(sys.base_prefix)]
        (site / "_outside.pth").write_text("\n".join(paths) + "\n")

    def install(self, *packages: Path, editable: bool = False) -> None:
        """Install packages from their folders, as an author would."""
        flags = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        words = [word for package in packages for word in ([*(["-e"] if editable else []), str(package)])]
        self.call(sys.executable, "-m", "pip", "--python", str(self.python), "install", *flags, *words)

    def run(self, *words: str, cwd: Path | None = None) -> str:
        """`python -m …` in it; gives standard output."""
        return self.call(str(self.python), "-m", *words, cwd=cwd)

    def call(self, *words: str, cwd: Path | None = None) -> str:
        """A command that must succeed, outside of any source folder."""
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=self._variables())
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _variables(self) -> dict[str, str]:
        path = os.pathsep.join([str(self.python.parent), os.environ.get("PATH", "")])
        return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
