"""The conformance kit: what every technique must keep, as plain functions.

Three ways to it:

    $ convscope check acme.noise --plugin acme_noise.py
    $ pytest --pyargs convscope_sdk.conformance --technique acme.noise

    from convscope_sdk.conformance import conformance
    test_conformance = conformance(noise, expected_failures={"check_same_seed_same_pixels": "cuDNN's atomics"})

Each check takes a `Subject` and raises `NonConformity` with what was seen and what to change. A new minor version may
bring new checks; pin convscope in the tests of a plugin that must stay green.
"""

from __future__ import annotations

from collections.abc import Sequence

from convscope_sdk.conformance.check import (
    CheckFunction,
    NonConformity,
    NotConcerned,
    Outcome,
    name_of,
    reason_of,
    run_checks,
    run_one,
)
from convscope_sdk.conformance.declared import (
    check_describes_itself,
    check_out_of_range_params_are_refused,
    check_schema_is_complete,
    check_schema_is_stable,
    check_unknown_params_are_refused,
)
from convscope_sdk.conformance.inputs import check_needs_are_honest, check_survives_odd_pictures
from convscope_sdk.conformance.repeats import (
    check_batched_runs_equal_single_ones,
    check_interleaved_runs_do_not_disturb_each_other,
    check_same_seed_same_pixels,
)
from convscope_sdk.conformance.results import (
    check_progress_is_monotone,
    check_results_are_sound,
    check_runs_with_defaults,
    check_steps_keep_their_bound,
    check_yields_events,
)
from convscope_sdk.conformance.resumed import check_goes_on_where_it_was_put_down
from convscope_sdk.conformance.subject import Subject
from convscope_sdk.conformance.suite import conformance
from convscope_sdk.conformance.traces import (
    check_cancels_within_one_step,
    check_closed_early_leaves_the_network_clean,
    check_every_step_leaves_the_network_clean,
)
from convscope_sdk.conformance.world import check_keeps_no_global_state, check_uses_no_network, check_writes_nothing

CHECKS: Sequence[CheckFunction] = (
    check_describes_itself,
    check_schema_is_complete,
    check_schema_is_stable,
    check_unknown_params_are_refused,
    check_out_of_range_params_are_refused,
    # First, since only a technique's first run may fetch or write what later runs use.
    check_writes_nothing,
    check_uses_no_network,
    check_keeps_no_global_state,
    check_yields_events,
    check_results_are_sound,
    check_progress_is_monotone,
    check_steps_keep_their_bound,
    check_every_step_leaves_the_network_clean,
    check_closed_early_leaves_the_network_clean,
    check_cancels_within_one_step,
    check_same_seed_same_pixels,
    check_interleaved_runs_do_not_disturb_each_other,
    check_batched_runs_equal_single_ones,
    check_goes_on_where_it_was_put_down,
    check_survives_odd_pictures,
    check_needs_are_honest,
    check_runs_with_defaults,
)
"""Every check, in the order in which they are made."""

__all__ = [
    "CHECKS",
    "CheckFunction",
    "NonConformity",
    "NotConcerned",
    "Outcome",
    "Subject",
    "check_batched_runs_equal_single_ones",
    "check_cancels_within_one_step",
    "check_closed_early_leaves_the_network_clean",
    "check_describes_itself",
    "check_every_step_leaves_the_network_clean",
    "check_goes_on_where_it_was_put_down",
    "check_interleaved_runs_do_not_disturb_each_other",
    "check_keeps_no_global_state",
    "check_needs_are_honest",
    "check_out_of_range_params_are_refused",
    "check_progress_is_monotone",
    "check_results_are_sound",
    "check_runs_with_defaults",
    "check_same_seed_same_pixels",
    "check_schema_is_complete",
    "check_schema_is_stable",
    "check_steps_keep_their_bound",
    "check_survives_odd_pictures",
    "check_unknown_params_are_refused",
    "check_uses_no_network",
    "check_writes_nothing",
    "check_yields_events",
    "conformance",
    "name_of",
    "reason_of",
    "run_checks",
    "run_one",
]
