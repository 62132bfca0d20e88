"""When the scheduler looks, and what counts as quiet."""

import pytest

from pie_core.control.environment import Environment
from pie_core.control.looks import Looks
from pie_core.testing.inline import ManualLoop


class Looking:
    """Looks on a manual loop, and when each was taken."""

    def __init__(self):
        self.loop = ManualLoop()
        self.taken = []
        self.looks = Looks(Environment(self.loop.now, self.loop.soon, None, self.loop.later), self.look)

    def look(self):
        self.looks.begin()
        self.taken.append(self.loop.now())

    def quiet(self, changes=False):
        """Of a look; changes: something has happened since the one before."""
        if changes:
            self.looks.change()
        changed, quiet = self.looks.listen()
        assert changed == changes
        return quiet


@pytest.fixture
def looking():
    looking = Looking()
    looking.looks.listen()  # the first finds all new
    return looking


def test_many_reasons_to_look_make_one_look_and_the_next_makes_another(looking):
    for count in (1, 2):
        looking.looks.soon()
        looking.looks.soon()
        looking.loop.run()
        assert len(looking.taken) == count


def test_a_look_comes_after_what_was_ready_to_run_before(looking):
    before = []
    looking.loop.soon(lambda: before.append(list(looking.taken)))
    looking.looks.soon()
    assert not looking.taken
    looking.loop.run()
    assert before == [[]] and len(looking.taken) == 1


def test_a_look_that_was_taken_at_once_leaves_room_for_the_next(looking):
    looking.looks.soon()
    looking.look()
    looking.looks.soon()
    looking.loop.run()
    assert len(looking.taken) == 3


def test_of_several_times_the_earliest_counts(looking):
    now = looking.loop.now()
    for after in (2.0, 1.0, 3.0):
        looking.looks.at(now + after, now)
    looking.loop.advance(5.0)
    assert [round(taken - now, 3) for taken in looking.taken] == [1.0]


def test_a_time_is_kept_anew_once_it_has_come(looking):
    for _ in range(2):
        now = looking.loop.now()
        looking.looks.at(now + 1.0, now)
        looking.loop.advance(2.0)
    assert len(looking.taken) == 2


def test_it_is_quiet_when_nothing_has_changed_between_two_looks(looking):
    assert looking.quiet()
    assert not looking.quiet(changes=True)
    assert looking.quiet()


def test_the_first_look_is_not_quiet():
    assert Looking().looks.listen() == (True, False)


def test_after_sixteen_looks_in_a_row_that_find_a_change_it_counts_as_quiet(looking):
    looking.quiet()
    assert [looking.quiet(changes=True) for _ in range(17)] == [False] * 16 + [True]


@pytest.mark.parametrize("ends", ["a look that finds none", "a launch"])
def test_patience_begins_anew_with(ends, looking):
    looking.quiet()
    for _ in range(10):
        looking.quiet(changes=True)
    looking.looks.launched() if ends == "a launch" else looking.quiet()
    assert not any(looking.quiet(changes=True) for _ in range(16))
