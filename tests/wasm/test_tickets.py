"""What is kept of calls that nobody awaits, and what is told of them later."""

from __future__ import annotations

import pytest

from pie_core.application.wasm.tickets import Tickets
from pie_core.control.ticket import Ticket
from pie_core.errors import DeviceError, HandleError, ResourceError

MOST = 65536


def make() -> Tickets:
    return Tickets(lambda: None)


def failing(tickets: Tickets, call: str = "forward") -> int:
    tickets.check_room()
    ticket = Ticket()
    ticket.fail(DeviceError("it failed"))
    return tickets.add(ticket, call)


def test_failed_calls_that_nobody_awaits_do_not_fill_the_room_for_good() -> None:
    tickets = make()
    for _ in range(3 * MOST):
        failing(tickets)
    assert len(tickets._open) <= MOST


def test_what_was_forgotten_is_not_said_to_have_gone_well() -> None:
    tickets = make()
    first = failing(tickets)
    fine = Ticket()
    fine.resolve()
    tickets.outcome(tickets.add(fine, "forward")).value()
    for _ in range(MOST):
        last = failing(tickets)
    with pytest.raises(ResourceError, match=f"call {first} went well was forgotten.* synchronize their queue"):
        tickets.outcome(first)
    with pytest.raises(DeviceError, match="it failed"):
        tickets.outcome(last).value()
    with pytest.raises(HandleError):
        tickets.outcome(last + 1)


def test_an_error_is_kept_as_long_as_there_is_room() -> None:
    tickets = make()
    first = failing(tickets)
    for _ in range(MOST - 1):
        failing(tickets)
    with pytest.raises(DeviceError):
        tickets.outcome(first).value()


def test_results_and_reports_of_errors_are_not_forgotten() -> None:
    tickets = make()
    report = failing(tickets, "synchronize")
    answer = Ticket()
    answer.resolve("text")
    number = tickets.add(answer, "receive")
    for _ in range(MOST):
        failing(tickets)
    with pytest.raises(DeviceError):
        tickets.outcome(report).value()
    assert tickets.result(number, "receive").value() == "text"


def test_calls_under_way_are_refused_past_the_limit() -> None:
    tickets = make()
    for _ in range(MOST):
        tickets.check_room()
        tickets.add(Ticket(), "forward")
    with pytest.raises(ResourceError, match="results were not taken"):
        tickets.check_room()
