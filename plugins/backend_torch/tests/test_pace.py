"""Whether there is time for a plan, and how far to run ahead, by a clock that the test holds."""

from __future__ import annotations

import pytest
from pie_backend_torch.ahead.pace import AHEAD_S, MOST_AHEAD, Pace


def test_it_is_too_late_to_plan_when_the_steps_that_are_launched_end_before_a_plan_is_made() -> None:
    at = [15.0]
    pace = Pace(lambda: at[0])
    assert not pace.too_late_to_plan(1)  # nothing is known
    for after_s in (None, 1.0, 1.5, 3.0):  # the shortest step tells, for one that is launched late seems longer
        pace.arrived(after_s)
    for seconds in (0.5, 9.0, 0.25):  # and the median plan
        pace.planned(seconds)
    for at[0], launched, late in ((15.45, 1, False), (15.55, 1, True), (16.45, 2, False), (16.55, 2, True)):
        assert pace.too_late_to_plan(launched) is late


@pytest.mark.parametrize(
    ("step_s", "ahead"), [(2 * AHEAD_S, 1), (AHEAD_S / 2.5, 2), (AHEAD_S / 100, MOST_AHEAD), (0.0, MOST_AHEAD)]
)
def test_some_milliseconds_of_steps_are_launched_ahead(step_s: float, ahead: int) -> None:
    pace = Pace()
    assert pace.ahead == 1
    pace.arrived(None)
    assert pace.ahead == 1
    for after_s in (step_s, 1.0):
        pace.arrived(after_s)
        assert pace.ahead == ahead


def test_steps_are_not_launched_far_ahead_of_who_waits_for_a_pass_of_another_kind() -> None:
    pace = Pace()
    pace.arrived(1e-4)
    pace.shared()
    seen = []
    for _ in range(9):
        seen.append(pace.ahead)
        pace.arrived(1e-4)
    assert seen == [1] * 8 + [MOST_AHEAD]
