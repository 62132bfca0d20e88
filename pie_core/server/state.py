"""What all connections of a server share. It exists before the model does: `/livez` and `/readyz` answer meanwhile."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from pie_core.application.program import Program, read_program
from pie_core.controller import Controller
from pie_core.errors import ProgramError, ResourceError, nearest
from pie_core.server.access import Access, Caller

_UPLOADED_BYTES = 256 << 20


class ServerState:
    """Owned by `serve`; connections register in `sessions` and claim the inferlets they read in `readers`."""

    def __init__(self, frame_bytes: int, local: bool, access: Access | None = None) -> None:
        self.frame_bytes = frame_bytes
        self.access = access or Access()
        self.local = local  # nobody but this machine can connect
        self.uploaded = Uploads(_UPLOADED_BYTES)
        self.readers: set[str] = set()  # inferlets whose events a connection reads
        self.closing = asyncio.Event()  # nothing is launched any more; what runs may end
        self.stopping = asyncio.Event()  # what still runs is stopped
        self.idle = asyncio.Event()
        self.idle.set()
        self._controller: Controller | None = None
        self._sessions = 0

    @property
    def ready(self) -> bool:
        """Whether programs can be launched."""
        return self.loaded and not self.closing.is_set()

    @property
    def loaded(self) -> bool:
        """Whether the model is there."""
        return self._controller is not None

    @property
    def controller(self) -> Controller:
        """The core. Raises `ResourceError` while there is none."""
        if self._controller is None:
            raise ResourceError("the model is still being loaded; try again when /readyz answers 200")
        return self._controller

    def open(self, controller: Controller) -> None:
        """The model is there."""
        self._controller = controller

    def check_accepting(self) -> None:
        """Raise `ResourceError` if nothing may be launched any more."""
        if self.closing.is_set():
            raise ResourceError("the server shuts down and launches nothing any more")

    def admit(self, caller: Caller) -> None:
        """Count a request of a caller. Raises `BusyError` if it is one too many."""
        if self._controller is not None:
            self._controller.application.accounts.of(caller.user).admit_request()

    def installed_program(self, name: str) -> Program:
        """An installed program, read anew each time. Raises `ProgramError` naming near names."""
        programs = self.controller.programs
        if name not in programs:
            raise ProgramError(f"no program named {name!r} is installed on the server{nearest(name, programs)}")
        return read_program(programs[name])

    def enter(self) -> None:
        """A connection has come."""
        self._sessions += 1
        self.idle.clear()

    def leave(self) -> None:
        """A connection has gone."""
        self._sessions -= 1
        if self._sessions == 0:
            self.idle.set()


class Uploads:
    """Components that clients have sent, so that they need not send them again. Those unused for longest go first.

    Each user has sent what it has sent: whether others have sent the same is none of its business.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._components: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # by user and digest

    def add(self, user: str, digest: str, wasm: bytes) -> None:
        """Keep a component, for a time."""
        self._components[user, digest] = wasm
        self._components.move_to_end((user, digest))
        while sum(map(len, self._components.values())) > self._most_bytes:
            self._components.popitem(last=False)

    def get(self, user: str, digest: str) -> bytes | None:
        """The component, if it is there."""
        if (user, digest) in self._components:
            self._components.move_to_end((user, digest))
        return self._components.get((user, digest))
