"""Calls and traits as data: what a declaration may say, and what is refused when it is read."""

from array import array
from types import SimpleNamespace
from typing import Annotated

import msgspec
import pytest

from pie_core import (
    S32,
    U32,
    U64,
    ArgumentError,
    Command,
    ControlCall,
    DeclarationError,
    Embed,
    HandlerSpec,
    Handles,
    HostResource,
    KvPage,
    Mask,
    Planned,
    PluginError,
    Query,
    Reads,
    Trait,
    Writes,
)
from pie_core.command import call_name
from pie_core.control.binder import Binder
from pie_core.registry import Registry
from pie_core.schema import Access, value_type


class Note(msgspec.Struct):
    text: str


class Everything(Command):
    """Touch everything."""

    src: Reads[KvPage]
    dst: Writes[Embed]
    ids: list[U32]
    count: U32
    signed: S32 = -1
    mask: Mask | None = None
    names: list[str] = []
    share: float = 0.5
    plan: Planned[tuple[int, ...]] = ()


def test_a_signature_says_what_the_fields_say():
    signature = Everything.signature()
    assert (signature.name, signature.target, signature.doc) == ("everything", "queue", "Touch everything.")
    assert [(p.name, p.type.name, p.required, p.default) for p in signature.parameters] == [
        ("src", "list<kvpage>", True, None),
        ("dst", "list<embed>", True, None),
        ("ids", "list<u32>", True, None),
        ("count", "u32", True, None),
        ("signed", "s32", False, -1),
        ("mask", "option<mask>", False, None),
        ("names", "list<string>", False, []),
        ("share", "f64", False, 0.5),
    ]
    assert [p.type.access for p in signature.parameters[:3]] == [Access.READ, Access.WRITE, None]


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (int, "s64"), (float, "f64"), (bool, "bool"), (str, "string"), (bytes, "bytes"), (U64, "u64"),
        (list[list[S32]], "list<list<s32>>"), (tuple[int, ...], "list<s64>"), (U32 | None, "option<u32>"),
        (Note, "Note"), (Mask, "mask"), (Annotated[tuple[int, ...], Handles(Embed)], "list<embed>"),
        (Reads[KvPage] | None, "option<list<kvpage>>"), (Annotated[str, "a remark"], "string"),
    ],
)  # fmt: skip
def test_every_type_has_a_name_on_the_wire(annotation, name):
    assert value_type(annotation, "here").name == name


@pytest.mark.parametrize(
    "annotation", [dict[str, int], object, int | str, set[int], complex, list, tuple[int, str], type, Reads[int]]
)
def test_a_type_outside_the_vocabulary_is_refused_by_name(annotation):
    with pytest.raises(DeclarationError, match=r"my_call"):
        value_type(annotation, "my_call(x)")


def test_names_are_the_papers():
    assert call_name(type("GetNextDist", (Command,), {})) == "get_next_dist"
    assert call_name(type("ModelNames", (Command,), {"name": "models"})) == "models"


def declare(**fields):
    annotations = {name: fields.pop(name) for name in list(fields) if name not in ("target", "returns", "doc")}
    doc = fields.pop("doc", "Some words.")
    base = fields.pop("base", Command)
    return type("Call", (base,), {"__annotations__": annotations, "__doc__": doc, "__module__": __name__, **fields})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: declare(doc=""), "no docstring; it becomes the reference page"),
        (lambda: declare(x=dict), "is not a type a call can carry"),
        (lambda: declare(q=U32), r"call\(q\): a parameter cannot be named like this"),
        (lambda: declare(model=U32), r"call\(model\): a parameter"),
        (lambda: declare(**{"class": U32}), r"call\(class\): a parameter"),
        (lambda: declare(target="model"), "commands go to a queue"),
        (lambda: declare(returns=set), "call -> result"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused_when_the_trait_is_made(call, message):
    with pytest.raises(DeclarationError, match=message):
        Trait(name="t", version="1", doc="d", calls=(call(),))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": "Dance"}, "lower_snake_case"),
        ({"name": "two-words"}, "lower_snake_case"),
        ({"version": "new"}, "Invalid version"),
        ({"requires": ("a b c",)}, "'dance'"),
        ({"calls": (Everything, Everything)}, "declares call 'everything' twice"),
    ],
)
def test_a_trait_that_cannot_work_is_refused(facts, message):
    with pytest.raises(DeclarationError, match=message):
        Trait(**{"name": "dance", "version": "1", "doc": "d", "calls": (), **facts})


def test_a_handler_for_nonsense_is_refused():
    with pytest.raises(DeclarationError, match=r"handler for trait 'a b'"):
        HandlerSpec("a b", "fake", object)


def test_queries_and_control_calls_may_be_made_to_a_model():
    for base in (Query, ControlCall):
        assert type("Ask", (base,), {"__doc__": "Ask.", "target": "model"}).signature().target == "model"


# values


def check(annotation, value):
    return value_type(annotation, "here").check(value, "f: argument `x`")


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (U32, -1, "-1 is outside 0..4294967295"),
        (U32, 1 << 32, "outside"),
        (S32, 1 << 31, "outside"),
        (int, 1 << 63, "outside"),
        (U32, True, "expected an integer, got True"),
        (U32, 1.0, "expected an integer, got 1.0"),
        (U32, "1", "expected an integer, got '1'"),
        (list[U32], [1, "x"], "expected an integer, got 'x'"),
        (list[U32], "12", "expected a list, got str"),
        (list[U32], {1}, "expected a list, got set"),
        (list[U32], 5, "expected a list, got int"),
        (float, "x", "expected float, got 'x'"),
        (float, True, "expected float, got True"),
        (bool, 1, "expected bool, got 1"),
        (str, b"x", "expected str, got b'x'"),
        (str, "a\ud800", "half a surrogate pair at 1"),
        (bytes, "x", "expected bytes, got 'x'"),
        (Mask, 5, "expected a mask"),
        (Mask, {1: True}, "expected a mask"),
        (Mask, "10", "expected a mask"),
        (Mask, [2], "made of True and False"),
        (Mask, [bytearray([0, 1]), bytearray([0, 2])], "made of True and False"),
        (Mask, [[True], 5], "made of True and False"),
        (Mask, [[True], [True, False]], "differ in length"),
        (Mask, Mask(2, 2, b"111"), "mask of 2x2 carries 3 values"),
        (Note, {"text": 5}, "Expected `str`, got `int`"),
        (Annotated[tuple[int, ...], Handles(Embed)], 5, "expected a list of handles, got int"),
    ],
)
def test_a_wrong_value_is_refused_with_the_name_of_the_argument(annotation, value, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        check(annotation, value)
    assert str(caught.value).startswith("f: argument `x`: ")


@pytest.mark.parametrize(
    ("annotation", "value", "result"),
    [
        (U32, 7, 7), (float, 1, 1.0), (list[U32], array("I", [1, 2]), [1, 2]), (list[U32], (3,), [3]),
        (U32 | None, None, None), (bytes, bytearray(b"x"), b"x"), (str, "ä", "ä"), (Note, {"text": "x"}, Note("x")),
        (Mask, [True, 0], Mask(1, 2, b"\x01\x00")), (Mask, [], Mask(1, 0, b"")), (Mask, [[], []], Mask(2, 0, b"")),
        (Mask, [[1, 0], (False, True)], Mask(2, 2, b"\x01\x00\x00\x01")), (Mask, b"\x01\x00", Mask(1, 2, b"\x01\x00")),
        (Mask, [bytearray([1, 0]), b"\x00\x01"], Mask(2, 2, b"\x01\x00\x00\x01")),
        (Mask, Mask(1, 2, b"\x05\x00"), Mask(1, 2, b"\x01\x00")),
    ],
)  # fmt: skip
def test_a_right_value_arrives_in_its_plain_form(annotation, value, result):
    assert check(annotation, value) == result


class Sit(Command):
    """Sit."""


class SitDown(Command):
    """Sit down."""

    batches_with = Sit


class SitTight(Command):
    """Sit tight."""

    batches_with = SitDown


def test_a_command_is_batched_with_the_one_it_names():
    assert (Sit.batch_kind(), SitDown.batch_kind()) == (Sit, Sit)
    assert Trait("sit", "1.0", "Sit.", (SitDown, Sit)).calls == (SitDown, Sit)


@pytest.mark.parametrize("calls", [(SitDown,), (Sit, SitDown, SitTight)])
def test_a_command_batches_with_one_of_its_trait_that_has_batches_of_its_own(calls):
    with pytest.raises(DeclarationError, match="which is not a command of this trait with batches of its own"):
        Trait("sit", "1.0", "Sit.", calls)


class SitUp(Sit, kw_only=True):
    """Sit up."""

    batches_with = Sit
    seat: Reads[KvPage]


SITTING = Trait("sitting", "1.0", "Sit.", (Sit,))


def test_a_command_batches_with_one_of_a_supertrait_that_it_is_a_subclass_of():
    straight = Trait("straight", "1.0", "Sit up.", (SitUp,), ("sitting>=1",))
    assert Registry([SITTING, straight]).traits["straight"].calls[0].batch_kind() is Sit
    with pytest.raises(PluginError, match="sit_up batches with sit, which is a command of none of its supertraits"):
        Registry([SITTING, Trait("straight", "1.0", "Sit up.", (SitUp,))])


class Bow(Command):
    """Bow."""

    low: Reads[Embed]
    times: U32 = 1


class BowTo(Bow, kw_only=True):
    """Bow to somebody."""

    whom: Reads[KvPage]
    deep: bool = False


def test_what_a_subclass_requires_comes_before_all_that_may_be_left_out():
    assert [p.name for p in BowTo.signature().parameters] == ["low", "whom", "times", "deep"]
    space = SimpleNamespace(tables={Embed: {1: "low"}, KvPage: {2: "whom"}})
    bound = Binder(BowTo).bind(space, [[1], [2], 3])
    assert (bound.low, bound.whom, bound.times, bound.deep) == (("low",), ("whom",), 3, False)


class Ledger(HostResource):
    kind = "ledger"


class Noted(Command):
    """Note."""

    book: Writes[Ledger]


class NoteOn(Noted):
    """Go on noting."""

    stepwise = True


def test_of_the_commands_of_the_device_those_that_run_in_steps_may_write_what_lives_on_the_host():
    with pytest.raises(DeclarationError, match="noted runs on the device and writes a ledger"):
        Trait("noting", "1.0", "Note.", (Noted,), resources=(Ledger,))
    assert Trait("noting", "1.0", "Note.", (NoteOn,), resources=(Ledger,)).calls == (NoteOn,)


class Base(Command):
    """Count."""

    count: U32
    plan: Planned[int] = 0


class Further(Base):
    """Count on."""

    more: U32 = 5
    name_of_it: str = "x"


def test_a_command_may_extend_another_one_whose_planned_fields_then_stand_between():
    bound = [Binder(Further).bind(None, arguments) for arguments in ([1], [1, 2], [1, 2, "y"])]
    assert [(each.count, each.plan, each.more, each.name_of_it) for each in bound] == [
        (1, 0, 5, "x"),
        (1, 0, 2, "x"),
        (1, 0, 2, "y"),
    ]
