"""Attribution methods of captum, as convscope techniques. Captum itself is imported when one of them first runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from convscope_sdk import Technique
from convscope_sdk.hookspecs import hookimpl

__all__ = ["convscope_techniques"]


@hookimpl
def convscope_techniques() -> Iterable[Technique[Any]]:
    """The techniques of this package."""
    from convscope_captum.deep_lift import deep_lift
    from convscope_captum.feature_ablation import feature_ablation
    from convscope_captum.gradient_shap import gradient_shap
    from convscope_captum.lime import lime
    from convscope_captum.lrp import lrp

    return [lrp, deep_lift, gradient_shap, feature_ablation, lime]
