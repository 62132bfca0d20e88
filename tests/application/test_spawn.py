"""Programs that programs start: ordinary inferlets that talk to their parent, end with it, and are few."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from pie_core.application.application import Application
from pie_core.application.capabilities import Capabilities
from pie_core.application.events import Message, Output
from pie_core.application.limits import Limits
from pie_core.application.native import NativeTier
from pie_core.application.program import Program
from pie_core.application.services import Services
from pie_core.testing import FakeBackend, fake_model
from tests.application.conftest import PROLOGUE, Server

MAY = "# /// inferlet\n# spawn = true\n# ///\n"


@asynccontextmanager
async def serving(limits=None, spawn=True, programs=None, **backend):
    model = fake_model(FakeBackend(**backend))
    chosen = {"capabilities": Capabilities.of(spawn=spawn), "services": Services(programs=programs or {})}
    async with Application({"fake": model}, NativeTier(), limits, **chosen) as application:
        yield Server(application, model)
    model.close()


def play(test, **settings):
    """Run `await test(server)`, and see that nothing is left of it."""

    async def whole():
        async with serving(**settings) as server:
            result = await test(server)
            await server.assert_nothing_is_left()
            return result

    return asyncio.run(whole())


def program(body, child="pass", head=MAY):
    """A program whose `main` has this body; `CHILD` in it is the source of a program with that body."""
    inner = f"{head}from inferlet import *\nimport asyncio\nasync def main():\n    " + "\n    ".join(child.splitlines())
    lines = "\n    ".join(body.splitlines())
    return f"{head}{PROLOGUE}\nimport json\nCHILD = {inner!r}\nasync def main():\n    {lines}\n"


async def launch(server, source, *arguments, **how):
    return await server.application.launch(Program("parent", source, "parent.py"), arguments, **how)


async def end(server, source, *arguments, **how):
    return await server.ended(await launch(server, source, *arguments, **how))


def outcome(body, child="pass", **settings):
    return play(lambda server: end(server, program(body, child)), **settings)


def test_a_child_gets_arguments_and_returns_a_text():
    ended = outcome(
        "children = [spawn('child', [str(n)], source=CHILD) for n in range(5)]\n"
        "return json.dumps([await child.join() for child in children])",
        "return None if get_arg() == ['3'] else get_arg()[0] * 2",
    )
    assert json.loads(ended.value) == ["00", "11", "22", None, "44"]


def test_parent_and_child_talk_in_order():
    ended = outcome(
        "child = spawn('child', source=CHILD)\n"
        "for n in range(3): child.send(str(n))  # before it runs\n"
        "found = [await child.receive() for _ in range(3)]\n"
        "child.send('end')\n"
        "found.append(await child.join())\n"
        "found += [await child.receive(), await child.join()]\n"
        "return json.dumps(found)",
        "for _ in range(3): send('got ' + await receive())\nsend('left')\nreturn await receive()",
    )
    assert json.loads(ended.value) == ["got 0", "got 1", "got 2", "end", "left", "end"]


def test_children_can_be_named_by_number():
    """As the calls take them, below the library's `Child`."""
    ended = outcome(
        "for n in range(2): spawn('child', source=CHILD)\n"
        "send_to_child(1, 'one')\n"
        "found = [await receive_from_child(1), await join_child(1)]\n"
        "cancel_child(2)\n"
        "for number in (1, 2):\n"
        "    try: await join_child(number)\n"
        "    except PieError as error: found.append(type(error).__name__)\n"
        "return json.dumps(found)",
        "text = await receive()\nsend('got ' + text)\nreturn text",
    )
    assert json.loads(ended.value) == ["got one", "one", "HandleError", "TerminatedError"]


def test_what_is_sent_before_a_child_runs_is_bounded_like_its_inbox():
    ended = outcome(
        "child = spawn('child', source=CHILD)\n"
        "try:\n    for n in range(9): child.send(str(n))\nexcept ResourceError as error: told = str(error)\n"
        "return told + await child.join()",
        "return str([await receive() for _ in range(2)])",
        limits=Limits(inbox_messages=2),
    )
    assert "inbox of child 'child': 2 messages wait" in ended.value and ended.value.endswith("['0', '1']")


def test_what_a_child_prints_its_parents_client_sees():
    async def test(server):
        parent = await launch(
            server,
            program("print('before')\nawait spawn('child', source=CHILD).join()\nsend('after')", "print('child')"),
        )
        return [await server.event(parent) for _ in range(3)]

    assert play(test) == [Output("before\n"), Output("child\n"), Message("after")]


@pytest.mark.parametrize(
    ("child", "error", "told"),
    [
        ("{}['missing']", "ProgramError", "child 'child' failed: Traceback"),
        ("{}['missing']", "ProgramError", 'File "child", line '),
        ("return 5", "ProgramError", "main returned int"),
        ("raise SystemExit(3)", "ProgramError", "SystemExit: 3"),
        ("send_blob(b'x')", "ProgramError", "send_blob: a program that was spawned sends its parent texts only"),
        ("return 'x' * 1001", "ArgumentError", "1001 bytes is over the limit of 1000"),
    ],
)
def test_how_a_child_failed_its_parent_is_told(child, error, told):
    body = (
        "child = spawn('child', source=CHILD)\n"
        "for _ in range(2):\n"
        "    try: await child.join()\n"
        "    except PieError as failure: send(type(failure).__name__ + ' ' + str(failure))"
    )

    async def test(server):
        parent = await launch(server, program(body, child))
        return [await server.message(parent) for _ in range(2)]

    first, second = play(test, limits=Limits(message_bytes=1000))
    assert first == second and first.startswith(error) and told in first


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def main(: pass", "does not compile: SyntaxError"),
        ("def main(): pass", "`main` must be `async def main():`"),
        ("# /// inferlet\n# [flags.x]\n# default = 1\n# ///\nasync def main(): pass", "unknown argument 'one'"),
        ("#" * 9000, "has 9000 bytes; 6000 are allowed"),
    ],
)
def test_what_is_wrong_with_the_program_join_tells(source, told):
    written = "'#' * 9000" if source.startswith("##") else repr(source)
    body = f"""
child = spawn('child', ['one'], source={written})
told = []
for attempt in (child.receive, lambda: child.send('x'), child.join, child.join):
    try:
        await attempt()
    except PieError as error:
        told.append(str(error))
return json.dumps(told)"""
    ended = outcome(body, limits=Limits(program_bytes=6000))
    found = json.loads(ended.value)
    assert len(found) == 4 and all(told in text for text in found), found


def test_programs_by_name(tmp_path):
    (tmp_path / "greet.py").write_text("from inferlet import *\nasync def main(): return 'hello ' + get_arg()[0]")
    body = """
if get_arg():
    return "again " + get_arg()[0]
try:
    spawn("gret")
except ProgramError as error:
    print(error)
return await spawn("greet", ["x"]).join() + await spawn("parent", ["y"]).join()"""

    async def test(server):
        parent = await launch(server, program(body))
        return (await server.event(parent)).text, (await server.ended(parent)).value

    told, value = play(test, programs={"greet": tmp_path / "greet.py"})
    assert "no program is named 'gret'; did you mean 'greet' or 'parent'? (known: greet, parent)" in told
    assert value == "hello xagain y"


# ends


WAITING = "send('ready')\nawait receive()"


def test_cancelling_ends_a_child_and_its_children():
    body = (
        "child = spawn('child', source=CHILD)\n"
        "await child.receive()\n"
        "child.cancel()\n"
        "try: await child.join()\n"
        "except TerminatedError as error: send(str(error))\n"
        "child.cancel()"
    )
    child = f"grandchild = spawn('grandchild', source={program(WAITING)!r})\nawait grandchild.receive()\n{WAITING}"

    async def test(server):
        parent = await launch(server, program(body, child))
        told = await server.message(parent)
        return told, len(server.application.inferlets), (await server.ended(parent)).status, parent.family.live

    told, running, status, live = play(test)
    assert "child 'child' was stopped: cancelled by its parent" in told and running <= 1
    assert (status, live) == ("finished", 0)


@pytest.mark.parametrize("pause", ["", "await asyncio.sleep(0)"])
def test_cancelling_before_it_runs(pause):
    body = (
        f"child = spawn('child', source=CHILD)\n{pause}\nchild.cancel()\n"
        "try: await child.join()\nexcept TerminatedError as error: return str(error)"
    )
    assert "cancelled by its parent" in outcome(body).value


@pytest.mark.parametrize("how", ["stop", "return", "raise", "wall"])
def test_children_end_with_their_parent_however_it_ends(how):
    body = (
        "children = [spawn('child', source=CHILD) for _ in range(3)]\n"
        "for child in children: await child.receive()\n"
        "spawn('late', source=CHILD)\n"
        "send('ready')\n"
    ) + {"return": "return", "raise": "1 / 0"}.get(how, "await receive()")
    child = f"use = spawn('grandchild', source={program(WAITING)!r})\nawait use.receive()\n{WAITING}"

    async def test(server):
        parent = await launch(server, program(body, child))
        await server.message(parent)
        if how == "stop":
            server.application.stop(parent, "enough")
            assert server.application.inferlets == {}
        await server.ended(parent)
        assert server.application.inferlets == {}
        return parent.family.live

    assert play(test, limits=Limits(wall_s=2.0) if how == "wall" else None) == 0


def test_children_hold_pages_of_their_own_and_batch_with_their_parent():
    work = "q, pages, embeds = use_everything()\ndist = await get_next_dist(q, embeds[:1])\n"
    body = (
        work
        + "if get_arg(): return str(dist.max_index())\n"
        + "children = [spawn('parent', ['x']) for _ in range(8)]\n"
        + "found = await asyncio.gather(*[child.join() for child in children])\n"
        + "return str(set(found) == {str(dist.max_index())})"
    )
    assert outcome(body, pages=64, embeds=256).value == "True"


# limits and capabilities


@pytest.mark.parametrize(
    ("server", "head", "told"),
    [
        (False, MAY, "this program may not start others: the server was not started with --allow-spawn"),
        (True, "", "this program may not start others: its manifest does not say so; add `spawn = true`"),
    ],
)
def test_spawning_is_denied_unless_server_and_manifest_allow_it(server, head, told):
    async def test(scene):
        return (await end(scene, program("spawn('child', source=CHILD)", head=head))).error

    error = play(test, spawn=server)
    assert "CapabilityError" in error and told in error


def test_a_launch_may_allow_less_than_the_server():
    async def test(server):
        return (await end(server, program("spawn('child', source=CHILD)"), capabilities=Capabilities())).error

    assert "its launch does not allow it" in play(test)


def test_a_child_has_no_more_capabilities_than_its_parent_and_its_manifest():
    async def test(server):
        body = (
            "found = []\nfor source in json.loads(get_arg()[0]):\n    try: await spawn('child', source=source).join()\n"
            "    except ProgramError as error: found.append(str(error).splitlines()[-1])\nreturn json.dumps(found)"
        )
        wants = '# /// inferlet\n# hosts = ["b.example.org"]\n# spawn = true\n# ///\n'
        ask = "await http_get('http://b.example.org/')"
        children = [program(ask, head=wants), program(ask, head=""), program("spawn('parent')", head="")]
        head = '# /// inferlet\n# hosts = ["a.example.org"]\n# spawn = true\n# ///\n'
        return json.loads((await end(server, program(body, head=head), json.dumps(children))).value)

    async def whole():
        model = fake_model()
        allowed = Capabilities.of(["*"], spawn=True)
        async with Application({"fake": model}, NativeTier(), capabilities=allowed) as application:
            told = await test(Server(application, model))
        model.close()
        return told

    first, second, third = asyncio.run(whole())
    assert "CapabilityError: http://b.example.org may not be reached: its manifest does not name it" in first
    assert "CapabilityError: http://b.example.org may not be reached" in second
    assert "CapabilityError: spawn: this program may not start others" in third


def test_a_child_may_get_lower_limits_and_its_children_get_them_too():
    body = (
        "for limits in ({'inbox_messages': 1}, {'kvpages': 0}, {'embeds': 2.0}):\n"
        "    child = spawn('child', ['deep'], source=CHILD, limits=limits)\n"
        "    try:\n        child.send('one'); child.send('two')\n    except ResourceError as error: send(str(error))\n"
        "    send(await child.join())"
    )
    child = (
        "if get_arg() == ['deep']: return await spawn('child').join()\n"
        "q = get_auto_model().create_queue()\n"
        "for attempt in (lambda: alloc_kvpage(q, 1), lambda: alloc_emb(q, 3)):\n"
        "    try: attempt()\n    except ResourceError as error: return str(error)\n"
        "return 'no error'"
    )

    async def test(server):
        parent = await launch(server, program(body, child))
        return [await server.message(parent) for _ in range(4)]

    told, free, no_pages, two_embeds = play(test)
    assert "inbox of" in told and ": 1 messages wait" in told and free == "no error"
    assert "1 kvpages asked for, 0 held: over the 0 that one inferlet may hold" in no_pages
    assert "3 embeds asked for, 0 held: over the 2 that one inferlet may hold" in two_embeds


def test_a_child_with_little_time_is_ended():
    body = (
        "child = spawn('child', source=CHILD, limits={'wall_s': 0.01})\n"
        "try: await child.join()\nexcept ResourceError as error: return str(error)"
    )
    assert "ran longer than the 0.01 s" in outcome(body, "await receive()").value


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"wall": 1}, "spawn: there is no limit 'wall'; did you mean 'wall_s'?"),
        ({"max_inferlets": 1}, "spawn: there is no limit 'max_inferlets'"),
        ({"wall_s": 11}, "spawn: limit `wall_s`: 11 is over the 10 of this program itself"),
        ({"kvpages": 5}, "spawn: limit `kvpages`: 5 is over the 4"),
        ({"kvpages": None}, "spawn: limits: "),
        ({"kvpages": "null"}, "spawn: limit `kvpages`: expected a number of at least 0"),
        ({"wall_s": -1}, "spawn: limits: Expected `float` >= 0.0 - at `$.wall_s`"),
        ({"wall_s": "nan"}, "spawn: limits: Expected `float` >= 0.0 - at `$.wall_s`"),
        ({"inbox_messages": 0.5}, "spawn: limits: "),
    ],
)
def test_limits_of_a_child_that_are_none_or_too_high_are_an_error(limits, told):
    body = f"try: spawn('child', source=CHILD, limits={limits!r})\nexcept ArgumentError as error: return str(error)"
    assert told in outcome(body, limits=Limits(wall_s=10.0, kvpages=4)).value


def test_without_a_sandbox_computing_time_cannot_be_limited():
    body = (
        "try: await spawn('child', source=CHILD, limits={'cpu_s': 1}).join()\n"
        "except ResourceError as error: return str(error)"
    )
    assert "limited in the sandbox only, and there is none here" in outcome(body).value


def test_a_child_is_its_parents_users():
    async def test(server):
        body = "return await spawn('child', source=CHILD).join()"
        child = "await store_set('whose', get_instance_id())\nreturn 'set'"
        await end(server, program(body, child), user="ann")
        read = program("return str(await store_get('whose') is None)")
        return [(await end(server, read, user=user)).value for user in ("ann", "bob")]

    assert play(test) == ["False", "True"]


def test_a_spawn_bomb_meets_a_limit_that_is_named():
    body = (
        "children = []\ntry:\n    while True: children.append(spawn('parent'))\n"
        "except ResourceError as error:\n    told = str(error)\n"
        "for child in children:\n    try: await child.join()\n    except ProgramError as error: pass\n"
        "return told"
    )

    async def test(server):
        most = 0
        parent = await launch(server, program(body))
        while parent.outcome is None:
            most = max(most, len(server.application.inferlets))
            await asyncio.sleep(0)
        return parent.outcome.value, most

    told, most = play(test, limits=Limits(descendants=5))
    assert "5 descendants of one launch are running, the most allowed (limit `descendants`)" in told and most <= 6


def test_so_does_one_that_cancels_what_it_starts():
    body = "while True: spawn('parent').cancel()"
    ended = outcome(body, limits=Limits(descendants=5))
    assert "(limit `descendants`)" in ended.error or "children have ended and were not joined" in ended.error


def test_how_deep_children_of_children_go():
    body = (
        "try: return await spawn('parent', [*get_arg(), 'x']).join()\n"
        "except ResourceError as error: return f'{len(get_arg())} {error}'"
    )
    assert outcome(body, limits=Limits(spawn_depth=2)).value.startswith("2 spawn: this program is 2 below the one")


def test_children_that_nobody_joins_are_not_kept_without_end():
    body = (
        "for n in range(100):\n    child = spawn('child', source=CHILD)\n    try: await child.receive()\n"
        "    except TerminatedError: pass"
    )
    assert "64 children have ended and were not joined" in outcome(body).error


def test_children_that_are_joined_are_forgotten():
    body = "for n in range(100): await spawn('child', source=CHILD).join()\nreturn 'all'"
    assert outcome(body).value == "all"


def test_a_parent_that_does_not_read_is_an_error_of_the_child():
    body = "return await spawn('child', source=CHILD).join()"
    child = "try:\n    while True: send('x')\nexcept ResourceError as error: return str(error)"
    told = outcome(body, child, limits=Limits(mail_messages=10)).value
    assert "messages of child 'child': 10 messages wait and nobody reads them" in told


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("spawn('')", "ArgumentError: spawn: a program's name has 1 to 512 bytes"),
        ("spawn('child', 'x', source=CHILD)", "ArgumentError: spawn: args: expected a list of texts"),
        ("spawn('child', [5], source=CHILD)", "ArgumentError: spawn: argument `args`: expected str, got 5"),
        ("from inferlet import join_child; join_child(7)", "HandleError: 7 is no child of this inferlet"),
        ("await receive_from_child(7)", "HandleError: 7 is no child of this inferlet"),
        ("send_to_child(7, 'x')", "HandleError: 7 is no child of this inferlet"),
        ("from inferlet import cancel_child; cancel_child(0)", "HandleError: 0 is no child of this inferlet"),
        ("spawn('child', source=CHILD).send(5)", "ArgumentError: send_to_child: argument `msg`"),
    ],
)
def test_a_wrong_call_is_an_error_that_says_so(call, message):
    assert message in outcome(call).error


def test_the_list_tells_whose_child_an_inferlet_is():
    async def test(server):
        parent = await launch(
            server, program("child = spawn('child', source=CHILD)\nawait child.receive()\n" + WAITING, WAITING)
        )
        await server.message(parent)
        facts = server.application.list()
        server.application.stop(parent, "over")
        await server.ended(parent)
        return parent.id, [(each["program"], each["parent"]) for each in facts]

    parent, facts = play(test)
    assert facts == [("parent", None), ("child", parent)]
