"""The functions made from declarations: arguments as in Python, lists where one is meant, records and futures out."""

import pytest
from inferlet import ArgumentError, Dist
from inferlet.bindings import make_functions, source_of
from inferlet.errors import PieError, from_code
from inferlet.handles import Embed, KvPage, Queue
from inferlet.host import current, host


class Recorder:
    """A host that notes what reaches it and answers what it was told to."""

    def __init__(self, answer=None):
        self.answer, self.calls, self.idle_queues = answer, [], {}

    def call(self, *call):
        self.calls.append(call)
        return self.answer


def declare(target="queue", future=False, returns="none", **parameters):
    described = [
        {"name": name, "type": kind, "required": len(default) == 0, "default": default[0] if default else None}
        for name, (kind, *default) in parameters.items()
    ]
    return {
        "call": "act", "trait": "t", "target": target, "future": future, "parameters": described, "returns": returns,
        "doc": "Do it.",
    }  # fmt: skip


def act(declaration, *arguments, answer=None, **named):
    """Call the function of a declaration; its result and what reached the host."""
    recorder = Recorder(answer)
    token = current.set(recorder)
    try:
        return make_functions([declaration])["act"](*arguments, **named), recorder.calls
    finally:
        current.reset(token)


Q = Queue("fake", 7)


def test_positions_names_and_defaults_are_pythons():
    declaration = declare(a=("u32",), b=("option<u32>", None), c=("string", "x'y"))
    assert act(declaration, Q, 1)[1] == [("act", "fake", 7, (1, None, "x'y"))]
    assert act(declaration, Q, c="z", a=2)[1] == [("act", "fake", 7, (2, None, "z"))]
    assert act(declaration, q=Q, a=2)[1] == [("act", "fake", 7, (2, None, "x'y"))]
    with pytest.raises(TypeError, match=r"act\(\) missing 1 required positional argument: 'a'"):
        act(declaration, Q)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'd'"):
        act(declaration, Q, 1, d=1)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (5, [5]),
        (KvPage(5), [5]),
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        (range(3), [0, 1, 2]),
        ({9: 1}, [9]),
        ("ab", ["ab"]),
    ],
)
def test_one_stands_for_a_list_of_one(given, sent):
    assert act(declare(a=("list<u32>",)), Q, given)[1] == [("act", "fake", 7, (sent,))]


def test_what_cannot_be_a_list_is_an_error_that_names_the_argument():
    with pytest.raises(ArgumentError, match=r"act: argument `a`: expected a list, got NoneType"):
        act(declare(a=("list<u32>",)), Q, None)


def test_calls_may_be_made_to_a_model_or_to_nobody():
    class Model:
        name = "m"

    assert act(declare("model"), Model())[1] == [("act", "m", None, ())]
    assert act(declare("none", a=("u32",)), 3)[1] == [("act", None, None, (3,))]


@pytest.mark.parametrize("wrong", [None, 7, "q", object()])
def test_a_queue_must_be_a_queue(wrong):
    with pytest.raises(ArgumentError, match=r"pass a Queue first, as model.create_queue"):
        act(declare(), wrong)


@pytest.mark.parametrize(("kind", "handle"), [("kvpage", KvPage), ("embed", Embed)])
def test_handles_come_back_as_numbers_that_know_their_kind(kind, handle):
    result, _ = act(declare(returns=f"list<{kind}>"), Q, answer=[3, 4])
    assert result == [3, 4] and all(type(number) is handle for number in result)
    assert repr(result[0]) == f"{handle.__name__}(3)"


def test_a_distribution_comes_back_as_one():
    class Record:
        ids, probs, rest = [5], [1.0], 0.0

    result, _ = act(declare(returns="Dist"), Q, answer=Record())
    assert isinstance(result, Dist) and result.max_index() == 5


def test_the_function_carries_the_declarations_words():
    function = make_functions([declare(a=("u32",))])["act"]
    assert (function.__doc__, function.__name__, function.__module__) == ("Do it.", "act", "inferlet")


def test_the_source_of_a_function_is_what_one_would_write_by_hand():
    assert source_of(declare(a=("list<u32>",), b=("u32", 1))).splitlines()[0] == "def act(q, a, b=1):"


def test_outside_a_server_a_call_says_how_to_start_one():
    with pytest.raises(PieError, match=r"start it with `pie-core run PROGRAM`"):
        host()


def test_an_error_of_an_unknown_kind_keeps_its_code():
    error = from_code("weather", "rain")
    assert type(error) is PieError and error.code == "weather" and str(error) == "rain"
    assert type(from_code("argument", "x")) is ArgumentError
