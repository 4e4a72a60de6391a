"""Each method keeps what convscope asks of every technique, by its own kit."""

from __future__ import annotations

from convscope_captum.deep_lift import deep_lift
from convscope_captum.feature_ablation import feature_ablation
from convscope_captum.gradient_shap import gradient_shap
from convscope_captum.lime import lime
from convscope_captum.lrp import lrp
from convscope_sdk.conformance import conformance

# The first of its runs imports captum, or scikit-learn, which takes seconds.
PATIENCE = 60.0

test_deep_lift = conformance(deep_lift, patience=PATIENCE)
test_lrp = conformance(lrp, patience=PATIENCE)
test_gradient_shap = conformance(gradient_shap, patience=PATIENCE)
test_feature_ablation = conformance(feature_ablation, params={"count": 9}, patience=PATIENCE)
test_lime = conformance(lime, params={"count": 9, "samples": 12}, patience=PATIENCE)
