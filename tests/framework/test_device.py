"""The device thread: failures stay with the commands they belong to, and nothing stops the thread."""

import queue
import threading

import pytest

from pie_core import UNFINISHED, ArgumentError, Command, DeviceError, Embed, KvPage, Reads, Writes
from pie_core.inference.device import ThreadDevice, WaveRunner
from pie_core.inference.stepping import Ride
from pie_core.inference.swapping import SwapIn, SwapOut
from pie_core.inference.wave import Batch, Wave


class Write(Command):
    """Write."""

    out: Writes[Embed]
    fails: bool = False


class Append(Command):
    """Add to a page."""

    out: Writes[KvPage]


class Look(Command):
    """Look."""

    at: Reads[Embed]


class Entry:
    stopped, share = False, 0.0

    def __init__(self, command, reads=(), writes=()):
        self.command, self.reads, self.writes = command, reads, writes


class WriteAloud(Command):
    """Write, and say so."""

    batches_with = Write
    out: Writes[Embed]
    fails: bool = False


def write(embed, fails=False):
    return Entry(Write((embed,), fails), writes=(embed,))


def look(embed):
    return Entry(Look((embed,)), reads=(embed,))


def none(ended):
    """Nothing runs in steps."""
    assert not ended


def fragile(batch):
    if any(command.fails for command in batch):
        raise RuntimeError("bit flip")


def run(*batches, **routes):
    """Run batches given as (kind, entries); what each entry gave, or the name of its error."""
    wave = Wave([Batch(kind, list(entries)) for kind, entries in batches])
    usual = {Write: fragile, Append: lambda batch: None, Look: lambda batch: [len(batch)] * len(batch)}
    WaveRunner({**usual, **{kind: routes[kind.__name__] for kind in usual if kind.__name__ in routes}}).run(wave)
    return [
        [type(batch.errors[place]).__name__ if place in batch.errors else batch.results[place]
         for place in range(len(batch.entries))]
        for batch in wave.batches
    ]  # fmt: skip


def test_results_come_back_in_the_order_of_the_commands():
    embeds = [Embed() for _ in range(3)]
    assert run((Look, map(look, embeds)), Look=lambda batch: [id(c.at[0]) for c in batch]) == [list(map(id, embeds))]


def test_in_a_failing_batch_only_the_culprit_fails():
    one, two, three = Embed(), Embed(), Embed()
    assert run((Write, [write(one), write(two, fails=True), write(three)])) == [[None, "DeviceError", None]]


def test_what_depends_on_a_failed_command_is_skipped_and_the_rest_runs():
    one, two = Embed(), Embed()
    batches = (Write, [write(one, fails=True), write(two)]), (Look, [look(one), look(two)])
    assert run(*batches) == [["DeviceError", None], ["DeviceError", 1]]


def test_what_is_written_anew_after_a_failure_is_sound_again_within_the_wave():
    """As it is between waves: the outcome must not depend on what the wave happened to hold."""
    embed = Embed()
    batches = (Write, [write(embed, fails=True)]), (Write, [write(embed)]), (Look, [look(embed)])
    assert run(*batches) == [["DeviceError"], [None], [1]]


def test_what_only_adds_to_a_failed_page_is_skipped():
    page = KvPage(4)
    entry = Entry(Append((page,)), writes=(page,))
    calls = []

    def fail_once(batch):
        calls.append(batch)
        if len(calls) == 1:
            raise RuntimeError("bit flip")

    assert run((Append, [entry]), (Append, [entry]), Append=fail_once) == [["DeviceError"], ["DeviceError"]]
    assert len(calls) == 1


def test_what_a_failed_command_left_is_moved_to_host_memory_and_back_all_the_same():
    """The control layer knew of the failure before; a transfer that fails is taken for a lack of memory."""
    page, calls = KvPage(4), []

    def fail(batch):
        raise RuntimeError("bit flip")

    runner = WaveRunner({Append: fail, SwapOut: lambda batch: ["copy"], SwapIn: calls.append})
    first = Wave([Batch(Append, [Entry(Append((page,)), writes=(page,))])])
    out = Wave([Batch(SwapOut, [Entry(SwapOut(KvPage, (0,)), reads=(page,))])], chained=True)
    back = Wave([Batch(SwapIn, [Entry(SwapIn(KvPage, "copy", (1,)), writes=(page,))])], chained=True)
    for wave in (first, out, back):
        runner.run(wave)
    assert first.batches[0].errors and out.batches[0].results == ["copy"]
    assert not back.batches[0].errors and len(calls) == 1


@pytest.mark.parametrize("answers", [[], [1, 2, 3], 5])
def test_a_handler_that_gives_the_wrong_number_of_results_fails_its_commands_and_not_the_thread(answers):
    entries = [look(Embed()), look(Embed())]
    assert run((Look, entries), Look=lambda batch: answers) == [["DeviceError", "DeviceError"]]


def test_an_error_of_ours_reaches_the_program_as_it_is():
    def refuse(batch):
        raise ArgumentError("not an image")

    assert run((Look, [look(Embed())]), Look=refuse) == [["ArgumentError"]]


def test_the_error_of_a_command_names_it_and_keeps_the_cause():
    wave = Wave([Batch(Write, [write(Embed(), fails=True)])])
    WaveRunner({Write: fragile}).run(wave)
    error = wave.batches[0].errors[0]
    assert isinstance(error, DeviceError) and str(error) == "write failed on the device: RuntimeError: bit flip"
    assert isinstance(error.__cause__, RuntimeError)


def test_commands_that_share_a_batch_go_to_one_method_and_fail_under_their_own_names():
    embeds, seen = [Embed(), Embed()], []
    wave = Wave([Batch(Write, [write(embeds[0]), Entry(WriteAloud((embeds[1],), True), writes=(embeds[1],))])])
    WaveRunner({Write: lambda batch: seen.append(len(batch)) or fragile(batch)}).run(wave)
    assert seen == [2, 1, 1]
    assert {place: str(error) for place, error in wave.batches[0].errors.items()} == {
        1: "write_aloud failed on the device: RuntimeError: bit flip"
    }


def test_waves_run_in_launch_order_on_one_thread_and_close_waits_for_them():
    seen, threads, done = [], set(), []

    def record(batch):
        seen.extend(command.at for command in batch)
        threads.add(threading.current_thread().name)
        return [None] * len(batch)

    device = ThreadDevice({Look: record}, lambda function: function())
    embeds = [Embed() for _ in range(50)]
    for embed in embeds:
        device.launch(Wave([Batch(Look, [look(embed)])]), lambda: done.append(1), none)
    device.close()
    device.close()
    assert [at[0] for at in seen] == embeds and threads == {"pie-device"} and len(done) == 50


class Walk(Command):
    """Take steps."""

    stepwise = True
    steps: int


def test_waves_and_steps_take_turns_and_what_has_ended_is_told_of_behind_the_wave_that_began_it():
    """The first wave waits until the others are there, so that nothing depends on which thread is quicker."""
    told, ran = queue.SimpleQueue(), []
    launched = threading.Event()

    def watch(batch):
        launched.wait(30)
        ran.append("wave")

    def walk(batch):
        ran.append(sorted(command.steps for command in batch))
        for command in batch:
            command.steps -= 1
        return [UNFINISHED if command.steps else "there" for command in batch]

    device = ThreadDevice({Look: watch, Walk: walk}, lambda function: function())
    try:
        for walks in ([3, 1], [], [2]):
            batches = [Batch(Look, [look(Embed())])]
            if walks:
                batches.append(Batch(Walk, [Entry(Walk(steps)) for steps in walks]))
            device.launch(
                Wave(batches), lambda: told.put("wave"), lambda ended: told.put([result for _, result, _ in ended])
            )
        launched.set()
        heard = [told.get(timeout=30) for _ in range(6)]
    finally:
        device.close()
    assert ran == ["wave", [1, 3], "wave", [2], "wave", [1, 2], [1]]
    assert heard == ["wave", ["there"], "wave", "wave", ["there"], ["there"]]


class Hop(Command):
    """Take steps, where somebody looks anyway."""

    stepwise = True
    rides = Look
    steps: int


def hop(batch):
    for command in batch:
        command.steps -= 1
    return [UNFINISHED if command.steps else "there" for command in batch]


def hopping(take):
    """A runner with two that have begun, who look while they go along; the Embeds looked at by batch; who rode."""
    looked, rode = [], []
    routes = {Look: lambda batch: looked.append([command.at[0] for command in batch]), Hop: hop}
    runner = WaveRunner(routes, {Hop: Ride(Look, take, lambda done: rode.append([one.steps for one in done]))})
    runner.run(Wave([Batch(Hop, [Entry(Hop(steps)) for steps in (1, 3)])]))
    return runner, looked, rode


def test_steps_are_taken_in_the_batches_of_a_wave_where_they_can():
    mine, theirs = Embed(), Embed()
    runner, looked, rode = hopping(
        lambda running, weight: [Look((mine,)) if one.steps > 1 else None for one in running]
    )
    wave = Wave([Batch(Look, [look(theirs)])])
    runner.run(wave)
    assert looked == [[theirs, mine]] and wave.batches[0].results == [None]
    assert rode == [[3]] and runner.stepping.rode
    assert [result for _, result, _ in runner.stepping.step()] == ["there"]  # that which did not ride
    runner.run(Wave([Batch(Look, [look(theirs)])]))
    assert rode == [[3], [2]] and runner.stepping.step() == []  # it had its step
    runner.run(Wave([Batch(Look, [look(theirs)])]))
    assert len(rode) == 2 and not runner.stepping.rode  # it has nobody look any more
    assert [result for _, result, _ in runner.stepping.step()] == ["there"] and not runner.stepping


def test_who_cannot_go_along_takes_the_step_alone():
    def fail(running, weight):
        raise RuntimeError("no seat")

    runner, looked, rode = hopping(fail)
    wave = Wave([Batch(Look, [look(theirs := Embed())])])
    runner.run(wave)
    assert looked == [[theirs]] and wave.batches[0].errors == {} and rode == [] and not runner.stepping.rode
    assert [result for _, result, _ in runner.stepping.step()] == ["there"]


def test_who_was_answered_has_a_moment_to_ask_for_more_before_a_step_is_taken_alone():
    """The second wave is there when the first has run; the others come when the one before is done."""
    looked, answered, ended = [], queue.SimpleQueue(), queue.SimpleQueue()
    launched = threading.Event()

    def record(batch):
        launched.wait(30)
        looked.append(len(batch))

    ride = Ride(Look, lambda running, weight: [Look((Embed(),)) for _ in running], lambda done: None)
    device = ThreadDevice({Look: record, Hop: hop}, lambda function: function(), {Hop: ride}, moment_s=30.0)

    def launch(*more):
        device.launch(Wave([Batch(Look, [look(Embed())]), *more]), lambda: answered.put(None), ended.put)

    try:
        launch(Batch(Hop, [Entry(Hop(6))]))
        launch()
        launched.set()
        answered.get(timeout=30)
        for _ in range(4):
            answered.get(timeout=30)
            launch()
        ((_, result, _),) = ended.get(timeout=30)
    finally:
        device.close()
    assert result == "there" and looked == [1, 2, 2, 2, 2, 2]


def test_who_fails_in_a_batch_that_it_rode_with_has_not_ridden_and_no_other_suffers():
    theirs, mine, bad = Embed(), Embed(), Embed()

    def refuse(batch):
        if any(command.at[0] is bad for command in batch):
            raise RuntimeError("bad")

    rode = []
    ride = Ride(
        Look,
        lambda running, weight: [Look((bad if one.steps == 1 else mine,)) for one in running],
        lambda done: rode.append([one.steps for one in done]),
    )
    runner = WaveRunner({Look: refuse, Hop: hop}, {Hop: ride})
    runner.run(Wave([Batch(Hop, [Entry(Hop(steps)) for steps in (1, 3)])]))
    wave = Wave([Batch(Look, [look(theirs)])])
    runner.run(wave)
    assert wave.batches[0].errors == {} and rode == [[3]]
    assert [result for _, result, _ in runner.stepping.step()] == ["there"]  # by a step of its own


def test_a_device_that_is_closed_takes_no_more_steps():
    begun = threading.Event()

    def walk(batch):
        begun.set()
        return [UNFINISHED for _ in batch]

    device = ThreadDevice({Walk: walk}, lambda function: function())
    device.launch(Wave([Batch(Walk, [Entry(Walk(1))])]), lambda: None, none)
    assert begun.wait(30)
    device.close()


class Ponder(Command):
    """Think on the host."""

    place = "host"
    meet: bool = False


def test_commands_of_the_host_run_beside_each_other_and_beside_a_wave_and_answer_on_the_control_thread():
    """Two of them and a wave wait for each other: on one thread they would wait for ever."""
    meeting = threading.Barrier(3, timeout=30)
    posted = queue.SimpleQueue()

    def meet(batch):
        meeting.wait()
        return [threading.current_thread().name] * len(batch)

    device = ThreadDevice({Ponder: meet, Look: meet}, posted.put)
    try:
        answers = []
        wave = Wave([Batch(Look, [look(Embed())])])
        device.launch(wave, lambda: answers.append((wave.batches[0].results[0], None)), none)
        for _ in range(2):
            device.work(Ponder(), lambda answer, error: answers.append((answer, error)))
        for _ in range(3):
            posted.get(timeout=30)()
    finally:
        device.close()
    assert len(dict(answers)) == 3 and {error for _, error in answers} == {None}


class Panic(BaseException):
    """What an extension module may raise."""


@pytest.mark.parametrize("kind", [RuntimeError, Panic])
def test_a_failure_on_the_host_is_an_error_that_says_where(kind):
    def fail(batch):
        raise kind("no idea")

    answer, error = WaveRunner({Ponder: fail}).answer(Ponder())
    assert answer is None and f"ponder failed on the host: {kind.__name__}: no idea" in str(error)
