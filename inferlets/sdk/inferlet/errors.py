"""The errors a call can raise inside a program. `code` is the server's stable name for the kind of error."""

from __future__ import annotations


class PieError(Exception):
    """A call was refused or failed; the message says what, where and what to do next."""

    code = "error"


class ArgumentError(PieError):
    """Wrong type, shape or range. Nothing was done."""

    code = "argument"


class HandleError(ArgumentError):
    """A handle is unknown, freed, foreign, or may not be used this way. Nothing was done."""

    code = "handle"


class ResourceError(PieError):
    """A pool, quota or limit does not allow it."""

    code = "resource"


class BusyError(ResourceError):
    """A quota of the user is used up, or the server has as much to do as it takes on. It may be granted later."""

    code = "busy"


class DeviceError(PieError):
    """A command failed on the device, or was skipped because one it depends on failed."""

    code = "device"


class TraitError(PieError):
    """The model does not have the trait."""

    code = "trait"


class TerminatedError(PieError):
    """The inferlet was ended from outside."""

    code = "terminated"


class CapabilityError(PieError):
    """The program may not do this: the server, the launch or its own manifest does not allow it."""

    code = "capability"


class NetworkError(PieError):
    """A request over the network failed: no address, no connection, no answer, or one that is refused."""

    code = "network"


class ProgramError(PieError):
    """Another program cannot be started, or ended with an exception (its traceback is in the message)."""

    code = "program"


_BY_CODE = {
    kind.code: kind
    for kind in (
        ArgumentError,
        HandleError,
        ResourceError,
        BusyError,
        DeviceError,
        TraitError,
        TerminatedError,
        CapabilityError,
        NetworkError,
        ProgramError,
    )
}


def from_code(code: str, message: str) -> PieError:
    """The error of a code; a kind this version does not know is a plain `PieError` that keeps its code."""
    error = _BY_CODE.get(code, PieError)(message)
    error.code = code
    return error
