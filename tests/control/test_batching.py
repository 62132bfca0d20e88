"""Waves: what runs together, and in which order."""

from pie_core.testing.rig import make_rig


def test_a_decode_step_of_many_inferlets_is_one_wave_of_three_batches():
    rig = make_rig()
    programs = [rig.open(f"p{i}") for i in range(8)]
    tickets = []
    for program in programs:
        embeds = program.prompt([1, 2, 3])
        page = program.call("alloc_kvpage", 1)
        program.call("forward", [], embeds, page, embeds[-1:])
        tickets.append(program.call("get_next_dist", embeds[-1:]))
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 8), ("forward", 8), ("get_next_dist", 8)]]
    assert all(ticket.done for ticket in tickets)


def test_commands_of_one_queue_that_do_not_conflict_share_a_batch():
    rig = make_rig()
    program = rig.open()
    for _ in range(5):
        embeds = program.prompt([1])
        program.call("forward", [], embeds, program.call("alloc_kvpage", 1), embeds)
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 5), ("forward", 5)]]


def test_forwards_with_different_adapters_and_with_none_share_a_batch_by_priority_and_age():
    rig = make_rig(adapters=["poet", "judge"], batch=4)
    finished: list[str] = []
    asked = {
        "plain": (0, "forward"),
        "poet": (0, "forward_with_adapter", "poet"),
        "judge": (0, "forward_with_adapter", "judge"),
        "late": (-1, "forward"),
        "urgent": (5, "forward_with_adapter", "poet"),
    }
    programs = {name: rig.open(name) for name in asked}
    embeds = {name: program.prompt([1]) for name, program in programs.items()}
    rig.loop.run()
    for name, (priority, *call) in asked.items():
        program = programs[name]
        program.space.queues[program.q].priority = priority
        ticket = program.call(*call, [], embeds[name], program.call("alloc_kvpage", 1), [])
        ticket.watch(lambda _, name=name: finished.append(name))
    rig.device.shapes.clear()
    rig.loop.run()
    assert rig.device.shapes == [[("forward", 4)], [("forward", 1)]]
    assert finished == ["urgent", "plain", "poet", "judge", "late"]
    assert rig.layer.statistics.calls["forward"].commands == 5 and len(rig.layer.statistics.calls) == 2


def test_a_dependent_forward_waits_for_the_next_wave():
    rig = make_rig()
    program = rig.open()
    page = program.call("alloc_kvpage", 1)
    for position in range(3):
        embeds = program.prompt([7], first=position)
        program.call("forward", page, embeds, page, embeds)
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 3), ("forward", 1)], [("forward", 1)], [("forward", 1)]]


def test_what_arrives_while_the_device_is_busy_goes_with_the_next_wave():
    rig = make_rig()
    first, second, third = rig.open("a"), rig.open("b"), rig.open("c")
    first.prompt([1])
    while not rig.device.shapes:
        rig.loop.step()
    second.prompt([2])
    third.prompt([3])
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 1)], [("embed_txt", 2)]]


def test_a_full_batch_takes_the_urgent_queue_first_and_then_the_oldest():
    rig = make_rig(batch=2)
    finished: list[str] = []
    for name, priority in (("old", 0), ("older", 0), ("urgent", 5), ("last", -1)):
        program = rig.open(name)
        program.space.queues[program.q].priority = priority
        program.call("embed_txt", [1], [0], program.call("alloc_emb", 1)).watch(
            lambda _, name=name: finished.append(name)
        )
    rig.loop.run()
    assert finished == ["urgent", "old", "older", "last"]
    assert rig.device.shapes == [[("embed_txt", 2), ("embed_txt", 2)]]


def test_a_command_heavier_than_the_limit_runs_alone():
    rig = make_rig(batch=2)
    big, small = rig.open("big"), rig.open("small")
    big.prompt([1, 2, 3, 4, 5])
    small.prompt([1])
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 1), ("embed_txt", 1)]]


def test_embeds_are_made_before_a_forward_that_is_ready_so_that_forwards_meet():
    rig = make_rig()
    early, late = rig.open("early"), rig.open("late")
    embeds = early.prompt([1])
    rig.loop.run()
    early.call("forward", [], embeds, early.call("alloc_kvpage", 1), embeds)
    fresh = late.prompt([2])
    late.call("forward", [], fresh, late.call("alloc_kvpage", 1), fresh)
    rig.loop.run()
    assert rig.device.shapes[1:] == [[("embed_txt", 1), ("forward", 2)]]


def test_who_was_woken_by_a_wave_has_a_say_before_the_next_though_something_is_ready():
    rig = make_rig(batch=2)
    woken, other = rig.open("woken"), rig.open("other")
    embeds = [woken.prompt([1, 2]), woken.prompt([3]), other.prompt([4])]
    rig.loop.run()
    first = woken.call("forward", [], embeds[0], woken.call("alloc_kvpage", 1), [])
    other.call("forward", [], embeds[2], other.call("alloc_kvpage", 1), [])  # has no place beside it
    again = [], embeds[1], woken.call("alloc_kvpage", 1), []
    first.watch(lambda _: rig.loop.soon(lambda: woken.call("forward", *again)))
    rig.loop.run()
    assert rig.device.shapes[-2:] == [[("forward", 1)], [("forward", 2)]]


def test_a_flood_of_commands_does_not_keep_the_device_idle():
    rig = make_rig(embeds=4096)
    program = rig.open()

    def flood() -> None:
        program.prompt([1])
        if not rig.device.shapes:
            rig.loop.soon(flood)

    flood()
    for _ in range(1000):
        rig.loop.step()
    assert rig.device.shapes
    rig.loop.run()


def test_statistics_count_what_was_launched():
    rig = make_rig()
    for name in "abcd":
        rig.open(name).prompt([1, 2])
    rig.loop.run()
    counters = rig.layer.statistics.calls["embed_txt"]
    assert (counters.batches, counters.commands, counters.weight, counters.mean_batch) == (1, 4, 8, 4.0)


def test_a_wave_waits_until_everybody_who_could_run_has_been_heard():
    rig = make_rig()
    early, late = rig.open("early"), rig.open("late")
    first, second = early.call("alloc_emb", 1), late.call("alloc_emb", 1)

    def begin():
        early.call("embed_txt", [1], [0], first)
        rig.loop.soon(lambda: late.call("embed_txt", [2], [0], second))  # behind the first look at the backlog

    rig.loop.soon(begin)
    rig.loop.run()
    assert rig.device.shapes == [[("embed_txt", 2)]]
