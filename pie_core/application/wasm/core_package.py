"""The part of package ``pie:core`` that no declaration says: errors, masks, tickets, output, source files."""

from __future__ import annotations

from pie_core.application.runtime import RUNTIME
from pie_core.application.wasm.wit_model import Function, Interface, ListOf, Plain, Record, ResultOf

CORE = "pie:core"
VERSION = RUNTIME.version
TYPES_PATH = f"{CORE}/types@{VERSION}"

U32, U64, STRING = Plain("u32"), Plain("u64"), Plain("string")
BYTES = ListOf(Plain("u8"))

ERROR = Record(
    "error",
    (("code", STRING), ("message", STRING)),
    "What went wrong: a stable code for programs, a text for people.",
)
MASK = Record(
    "mask",
    (("rows", U32), ("cols", U32), ("data", BYTES)),
    "rows x cols booleans, row after row, one bit each, low bit first, rows not padded; true = may attend.",
)
FILE = Record("file", (("name", STRING), ("text", STRING)), "One source file.")

TYPES = Interface("types", "What the interfaces share.", records=(ERROR, MASK))

TICKETS = Interface(
    "tickets",
    "Calls that are not done yet.",
    functions=(
        Function(
            "wait",
            (("tickets", ListOf(U64)),),
            ListOf(U64),
            "Suspend until at least one of these tickets is done; those that are.",
        ),
        Function(
            "outcome",
            (("ticket", U64),),
            ResultOf(None, ERROR),
            "The outcome of a ticket of a call that returns nothing; suspends until it is there. Done with then.",
        ),
        Function(
            "drop",
            (("tickets", ListOf(U64)),),
            None,
            "Let go of tickets that nobody will ask about; the calls run on.",
        ),
    ),
    uses=(ERROR,),
    uses_from="types",
)

SOURCE = Interface(
    "source",
    "The program of an interpreter.",
    records=(FILE,),
    functions=(
        Function(
            "get",
            (),
            ListOf(FILE),
            "The program (first) and the modules bundled with it. Only the interpreter component imports this.",
        ),
    ),
)

OUTPUT = Function(
    "output",
    (("text", STRING),),
    ResultOf(None, ERROR),
    "Show text to the client, as print() does.",
)
