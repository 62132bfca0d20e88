"""The manual loop: virtual time passes only when it is told to, and everything happens at its own time."""

from pie_core.testing import ManualLoop


def test_what_falls_due_runs_at_its_time_in_order_with_what_follows_from_it():
    loop, seen = ManualLoop(), []

    def note(name):
        seen.append((name, loop.now()))

    def again():
        note("first")
        loop.soon(lambda: note("follows"))
        loop.later(1.0, lambda: note("third"))

    loop.later(3.0, lambda: note("late"))
    loop.later(1.0, again)
    loop.later(1.0, lambda: note("second"))
    loop.run()
    assert seen == []
    loop.advance(2.5)
    assert seen == [("first", 1.0), ("follows", 1.0), ("second", 1.0), ("third", 2.0)]
    assert loop.now() == 2.5
    loop.advance(0.5)
    assert seen[-1] == ("late", 3.0)
