from __future__ import annotations

import numpy as np
import pytest

from convscope_techniques.units.correlation import by_class, by_label

ANSWERS = np.array([0.0, 1.0, 2.0, 5.0], np.float32)


def test_it_is_pearsons_and_0_where_nothing_varies() -> None:
    logits = np.stack([2 * ANSWERS + 1, -ANSWERS, np.full(4, 3.0), [1, 0, 1, 0]], axis=1).astype(np.float32)
    found = by_class(ANSWERS, logits)
    np.testing.assert_allclose(found, [1, -1, 0, np.corrcoef(ANSWERS, logits[:, 3])[0, 1]], atol=1e-6)
    np.testing.assert_array_equal(by_class(np.ones(4, np.float32), logits), 0)


def test_labels_come_with_their_mean_and_the_one_that_goes_along_most_first() -> None:
    rows = by_label(ANSWERS, ["a", "a", "b", "b"])
    assert [row["label"] for row in rows] == ["b", "a"]
    assert [row["mean"] for row in rows] == [3.5, 0.5]
    assert rows[0]["pictures"] == 2
    assert rows[0]["correlation"] == pytest.approx(np.corrcoef(ANSWERS, [0, 0, 1, 1])[0, 1])
    assert rows[1]["correlation"] == pytest.approx(-rows[0]["correlation"])
