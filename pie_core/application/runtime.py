"""The runtime calls of API.md, declared like those of a trait and answered by the application layer.

`apply` returns the result, or a `Ticket` where the guest gets a future. Calls that work on a model or a queue find
its address space through the inferlet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from pie_core.application.events import Blob, Message
from pie_core.command import Call, Target
from pie_core.control.ticket import Ticket
from pie_core.errors import ArgumentError
from pie_core.schema import S32, U32
from pie_core.trait import Trait
from pie_core.version import __version__

if TYPE_CHECKING:
    from pie_core.application.host import Host


class RuntimeCall(Call):
    """A call to the runtime; `model` and `queue` are those the guest passed first, if the target says so."""

    target: ClassVar[Target] = "none"
    future: ClassVar[bool] = False

    def apply(self, host: Host, model: str | None, queue: int | None) -> Any:
        """Do it. Raises `PieError`."""
        raise NotImplementedError


class GetVersion(RuntimeCall):
    """The version of the server."""

    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return __version__


class GetInstanceId(RuntimeCall):
    """The id of this inferlet; the same that `pie-core ps` shows."""

    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return host.inferlet.id


class GetArg(RuntimeCall):
    """The arguments the program was launched with."""

    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> list[str]:
        return list(host.inferlet.arguments)


class GetFlags(RuntimeCall):
    """The flags that the program's manifest declares, with the values of this launch, as a JSON object."""

    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return msgspec.json.encode(host.inferlet.flags).decode()


class Send(RuntimeCall):
    """Send a text to the client. Too long, or too many that the client has not read: error."""

    msg: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.msg)
        host.inferlet.emit(Message(self.msg))


class Receive(RuntimeCall):
    """The next text from the client, in order, each once."""

    returns = str
    future = True

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.inferlet.inbox.get()


class SendBlob(RuntimeCall):
    """Send bytes to the client. Errors as for `send`."""

    data: bytes

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.data)
        host.inferlet.emit(Blob(self.data))


class ReceiveBlob(RuntimeCall):
    """The next bytes from the client."""

    returns = bytes
    future = True

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.inferlet.blob_inbox.get()


class SetReturn(RuntimeCall):
    """Set the result of the program; the last one counts. The text that `main` returns is set the same way."""

    value: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.inferlet.check_size(self.value)
        host.inferlet.returned = self.value


class Sleep(RuntimeCall):
    """Suspend for `seconds`; other tasks of the program go on. Negative or not a number: error."""

    future = True
    seconds: float

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        if not self.seconds >= 0:
            raise ArgumentError(f"sleep: {self.seconds} seconds cannot be slept")
        return host.sleep(self.seconds)


class ModelNames(RuntimeCall):
    """The names of the loaded models, the default one first."""

    name = "model_names"
    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> list[str]:
        return list(host.models)


class ModelFacts(RuntimeCall):
    """What is known of a model, as a JSON object: the attributes of `Model`."""

    target = "model"
    returns = str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return host.model_facts(model)


class AvailableTraits(RuntimeCall):
    """The traits a model really has, supertraits included."""

    target = "model"
    returns = list[str]

    def apply(self, host: Host, model: str | None, queue: int | None) -> list[str]:
        return list(host.model(model).traits)


class CreateQueue(RuntimeCall):
    """A new command queue of a model, of priority 0. Raises when the inferlet has too many."""

    target = "model"
    returns = U32

    def apply(self, host: Host, model: str | None, queue: int | None) -> int:
        return host.space(model).create_queue()


class Synchronize(RuntimeCall):
    """Wait for all that is enqueued in the queue now. Raises the first error of its commands, once."""

    target = "queue"
    future = True

    def apply(self, host: Host, model: str | None, queue: int | None) -> Ticket:
        return host.queue(model, queue, "synchronize").synchronize()


class SetQueuePriority(RuntimeCall):
    """Commands of queues with a higher priority are batched first. The default is 0."""

    target = "queue"
    pri: S32

    def apply(self, host: Host, model: str | None, queue: int | None) -> None:
        host.queue(model, queue, "set_queue_priority").priority = self.pri


class DebugQuery(RuntimeCall):
    """Facts about the server for debugging, as a JSON object.

    what: "queue" (what is outstanding), "space" (what the inferlet holds), "pools" (what is free), "statistics"
    (batches by call). Anything else: error.
    """

    target = "queue"
    returns = str
    what: str

    def apply(self, host: Host, model: str | None, queue: int | None) -> str:
        return host.debug(model, queue, self.what)


RUNTIME = Trait(
    name="runtime",
    version="1.0.0",
    doc="Identity, messages to the client, models and queues.",
    calls=(
        GetVersion,
        GetInstanceId,
        GetArg,
        GetFlags,
        Send,
        Receive,
        SendBlob,
        ReceiveBlob,
        SetReturn,
        Sleep,
        ModelNames,
        ModelFacts,
        AvailableTraits,
        CreateQueue,
        Synchronize,
        SetQueuePriority,
        DebugQuery,
    ),
)
