"""The parameters that every attribution has."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from convscope_sdk.params import ImageParams
from convscope_sdk.target import Target
from convscope_techniques.attribution.explained import DEFAULT_TARGET, TARGET_HELP, TargetField

__all__ = ["AttributionParams", "ScoredParams"]


class ScoredParams(ImageParams):
    """How closely a map is looked at."""

    scores: Literal["basic", "full"] = Field(
        "basic",
        description=(
            "How much the report says about the map: `basic`, its range and the target's score, and how it meets a "
            "`mask` if one is given; `full`, also deletion and insertion, the confidence it keeps as a mask, and the "
            "randomisation check, which explains five networks more and holds a copy of the network meanwhile."
        ),
    )

    def for_comparison(self, target: Target | None, batch: int | None) -> Self:
        """The parameters by which another network is explained, so that the two maps can be compared."""
        chosen = {"target": target, "batch": batch}
        return self.model_copy(update={name: value for name, value in chosen.items() if value is not None})


class AttributionParams(ScoredParams):
    """Parameters of an attribution of one score."""

    target: TargetField = Field(DEFAULT_TARGET, description=TARGET_HELP)
