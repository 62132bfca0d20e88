"""Every error a user of pie-core can meet.

A message says what went wrong, names the package, file, call or handle it happened in, and ends with what to do
next. `code` is the stable name that clients and other languages match on; the text is for people.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LONGEST_TYPO = 100  # characters; names may come from strangers, and comparing long ones takes seconds
_MOST_NAMED = 50
_PLACE = re.compile(r" - at `\$\.?([^`]*)`")


class PieError(Exception):
    """Root of all errors that are somebody's mistake or misfortune (a bug of ours is an `AssertionError`)."""

    code = "error"


class PluginError(PieError):
    """A plugin is missing, broken, or clashes with another one."""

    code = "plugin"


class DeclarationError(PluginError):
    """A trait, command or handler is declared in a way that cannot work."""

    code = "declaration"


class TraitError(PieError):
    """A program needs a trait that the model does not have."""

    code = "trait"


class ConfigError(PieError):
    """An option or setting has a value that cannot be used.

    setting: which one, as `name` or `table.entry`, if that is known.
    """

    code = "config"

    def __init__(self, message: str, setting: str | None = None) -> None:
        super().__init__(message)
        self.setting = setting


class CheckpointError(PieError):
    """A checkpoint directory cannot be loaded."""

    code = "checkpoint"


class UnsupportedError(PieError):
    """The backend cannot serve this model or this trait; the message says why."""

    code = "unsupported"


class ArgumentError(PieError):
    """A call got an argument of the wrong type, shape or range. Nothing was done."""

    code = "argument"


class HandleError(ArgumentError):
    """A handle is unknown, freed, foreign, or may not be used this way. Nothing was done."""

    code = "handle"


class ResourceError(PieError):
    """A pool, quota or limit does not allow what was asked."""

    code = "resource"


class BusyError(ResourceError):
    """The server has as much to do as it takes on, or a user has used up a quota. The same may be asked again later.

    retry_after_s: when it may be granted, as far as that is known.
    """

    code = "busy"

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeviceError(PieError):
    """A command failed on the device, or was skipped because one it depends on failed."""

    code = "device"


class ProgramError(PieError):
    """A program cannot be found, read or compiled, or ended with an exception (its traceback is in the message)."""

    code = "program"


class TerminatedError(PieError):
    """The inferlet was ended from outside: stopped, timed out, or chosen by the contention policy."""

    code = "terminated"


class AuthenticationError(PieError):
    """A request without a key that the server knows."""

    code = "authentication"


class CapabilityError(PieError):
    """The program may not do this: the server, the launch or its own manifest does not allow it."""

    code = "capability"


class NetworkError(PieError):
    """A request over the network failed: no address, no connection, no answer, or one that is refused."""

    code = "network"


class ProtocolError(PieError):
    """A client and a server did not understand each other."""

    code = "protocol"


def misfit(error: Exception) -> tuple[str, str]:
    """Where, and why, a value is not what was wanted, of a `msgspec.ValidationError`; an empty place is the whole."""
    text = str(error)
    place = _PLACE.search(text)
    return place[1] if place else "", _PLACE.sub("", text).replace("Expected", "expected", 1)


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause such as ``; did you mean 'torch'? (known: torch, triton)`` for messages about unknown names."""
    names = sorted(known)
    if not names:
        return "; there is none"
    near = difflib.get_close_matches(name, names, n=3) if len(name) <= _LONGEST_TYPO else []
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{hint} (known: {', '.join(names[:_MOST_NAMED])}{more})"
