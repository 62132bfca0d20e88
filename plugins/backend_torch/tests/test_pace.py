"""Whether there is time for a plan, by a clock that the test holds."""

from __future__ import annotations

from pie_backend_torch.ahead.pace import Pace


def test_it_is_too_late_to_plan_when_the_step_that_runs_ends_before_a_plan_is_made() -> None:
    at = [0.0]
    pace = Pace(lambda: at[0])
    assert not pace.too_late_to_plan()  # nothing is known
    for at[0] in (10.0, 11.0, 12.0, 15.0):  # the shortest step tells, for a host that was late makes them seem longer
        pace.arrived()
    for seconds in (0.5, 9.0, 0.25):  # and the median plan
        pace.planned(seconds)
    at[0] = 15.45
    assert not pace.too_late_to_plan()
    at[0] = 15.55
    assert pace.too_late_to_plan()
