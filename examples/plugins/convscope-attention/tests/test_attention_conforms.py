"""Both maps keep what convscope asks of every technique, by its own kit."""

from __future__ import annotations

from convscope_attention.gradient import gradient
from convscope_attention.rollout import rollout
from convscope_sdk.conformance import conformance

test_rollout = conformance(rollout)
test_gradient = conformance(gradient)
