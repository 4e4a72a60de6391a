"""What is written is what Python's own reader reads."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from convscope_server.models.toml import to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = TEXT | st.booleans() | NUMBER | st.lists(NUMBER, max_size=4)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(st.dictionaries(KEYS, PLAIN, max_size=5), st.dictionaries(KEYS, PLAIN, max_size=5))
def test_every_plain_value_comes_back(values: dict[str, Any], table: dict[str, Any]) -> None:
    values.pop("facts", None)
    expected = {**values, **({"facts": table} if table else {})}
    assert tomllib.loads(to_toml(values, facts=table)) == expected
