"""Which class a person means by a label."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convscope_sdk.errors import InvalidTarget, UnknownName

__all__ = ["find_label"]

_SHOWN = 5


def find_label(label: str, labels: Sequence[str]) -> int:
    """The index of the class called `label`, in any case.

    The whole label counts first, then one of its parts between commas ("tabby" of "tabby, tabby cat"), then the
    beginning of one.

    Raises:
        InvalidTarget: several classes are called so; the message gives their indices.
        UnknownName: none is; carries near names.
    """
    if not labels:
        raise UnknownName.among("class", label, (), hint="the network's labels are unknown; write class:285")
    wanted = label.strip().casefold()
    matches: tuple[Callable[[str], bool], ...] = (
        lambda candidate: candidate == wanted,
        lambda candidate: any(part == wanted for part in _parts(candidate)),
        lambda candidate: any(part.startswith(wanted) for part in _parts(candidate)),
    )
    folded = [candidate.casefold() for candidate in labels]
    for matches_label in matches:
        found = [index for index, candidate in enumerate(folded) if matches_label(candidate)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InvalidTarget(f"several classes are called {label!r}; write one of {_spell(found, labels)}")
    raise UnknownName.among("class", label, labels)


def _parts(label: str) -> list[str]:
    return [part.strip() for part in label.split(",")]


def _spell(indices: Sequence[int], labels: Sequence[str]) -> str:
    spelled = [f"class:{index} ({labels[index]})" for index in indices[:_SHOWN]]
    return ", ".join(spelled) + (", …" if len(indices) > _SHOWN else "")
