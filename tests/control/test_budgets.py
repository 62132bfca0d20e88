"""What a user's inferlets and exports hold together: counted once, bounded, and given back however it ends."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pie_core import ArgumentError, Embed, KvPage, ResourceError, TerminatedError
from pie_core.errors import BusyError
from pie_core.testing.conformance.books import discrepancies
from pie_core.testing.rig import make_rig


def held(rig, user):
    return rig.layer.budgets[user].held[KvPage]


def test_a_user_over_the_quota_is_told_what_holds_it_and_others_are_not_concerned():
    rig = make_rig(pages=32)
    one, two = (rig.open(name, "alice", user_quota={KvPage: 8}) for name in "ab")
    other = rig.open("c", "bob", user_quota={KvPage: 8})
    one.call("alloc_kvpage", 5)
    with pytest.raises(
        BusyError, match=r"4 kvpages asked for; user 'alice' holds 5 .* of 8 allowed \(quota `kvpages`\)"
    ):
        two.call("alloc_kvpage", 4)
    two.call("alloc_kvpage", 3)
    other.call("alloc_kvpage", 8)
    assert (held(rig, "alice"), held(rig, "bob")) == (8, 8)
    assert (rig.free()[0], rig.evicted) == (16, [])


def test_what_even_a_lone_inferlet_could_not_have_is_no_matter_of_waiting():
    rig = make_rig(pages=32)
    program = rig.open("a", "alice", user_quota={KvPage: 8})
    program.call("alloc_kvpage", 6)
    with pytest.raises(ResourceError, match="this inferlet alone would hold 9") as caught:
        program.call("alloc_kvpage", 3)
    assert not isinstance(caught.value, BusyError)


def test_exports_count_until_they_are_released_and_a_shared_page_counts_once():
    rig = make_rig(pages=32)
    first = rig.open("a", "alice", user_quota={KvPage: 4})
    first.call("export_kvpage", first.call("alloc_kvpage", 3), "prefix", None)
    second = rig.open("b", "alice", user_quota={KvPage: 4})
    second.call("import_kvpage", "prefix")
    assert held(rig, "alice") == 3
    rig.layer.close(first.space)
    rig.layer.close(second.space)
    assert held(rig, "alice") == 3
    third = rig.open("c", "alice", user_quota={KvPage: 4})
    with pytest.raises(BusyError, match="release exports"):
        third.call("alloc_kvpage", 2)
    third.call("release_kvpage", "prefix")
    third.call("alloc_kvpage", 4)
    assert held(rig, "alice") == 4


def test_an_allocation_that_waits_for_room_counts_and_one_whose_inferlet_gave_way_does_not():
    rig = make_rig(pages=4)
    old, new = rig.open("old", "alice"), rig.open("new", "bob")
    old.call("alloc_kvpage", 3)
    with pytest.raises(TerminatedError):
        new.call("alloc_kvpage", 2)
    assert (held(rig, "alice"), held(rig, "bob")) == (3, 0)


def test_embeds_have_a_quota_of_their_own():
    rig = make_rig(embeds=32)
    program = rig.open("a", "alice", user_quota={Embed: 4})
    program.call("alloc_kvpage", 8)
    with pytest.raises(ResourceError, match=r"of 4 allowed \(quota `embeds`\)"):
        program.call("alloc_emb", 5)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["alloc", "free", "export", "import", "release", "end"]), st.integers(0, 3), st.integers(1, 5)
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=30)
@given(MOVES)
def test_whatever_users_do_they_are_charged_with_what_they_hold_and_never_over_the_quota(moves):
    """Four inferlets of two users; the audit counts the records that are really there."""
    rig = make_rig(pages=14, embeds=16)
    programs = {}
    for step, (move, who, count) in enumerate(moves):
        user = "alice" if who % 2 else "bob"
        if who not in programs or programs[who][0].space.ended:
            programs[who] = rig.open(f"{who}-{step}", user, user_quota={KvPage: 6}), []
        program, pages = programs[who]
        try:
            match move:
                case "alloc":
                    pages += program.call("alloc_kvpage", count)
                case "free":
                    program.call("dealloc_kvpage", pages[:count])
                    del pages[:count]
                case "export":
                    program.call("export_kvpage", pages[:count], f"name {count}", None)
                case "import":
                    pages += program.call("import_kvpage", f"name {count}")
                case "release":
                    program.call("release_kvpage", f"name {count}")
                case "end":
                    rig.layer.close(program.space)
        except (ArgumentError, ResourceError, TerminatedError):
            pass  # refused; the books must be right all the same
        rig.loop.run()
        assert discrepancies(rig.layer) == []
        assert all(budget.held[KvPage] <= 6 for budget in rig.layer.budgets.values())
