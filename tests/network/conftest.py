"""A web server of this process, a resolver of the test's, and a count of all that would leave the process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from pie_core.application.capabilities import Capabilities
from pie_core.testing import run_inferlet


@dataclass
class Wire:
    """What was looked up, and where connections went. `answers`: addresses by name, one list for each time asked."""

    answers: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    connected: list[tuple] = field(default_factory=list)
    sent_to: list[tuple] = field(default_factory=list)

    def resolve(self, **names: list[str]) -> None:
        """These names have these addresses, always. An underscore is a dot."""
        self.answers |= {name.replace("_", "."): [addresses] for name, addresses in names.items()}


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """Every way out of the process, watched; names that the test does not know do not exist."""
    wire = Wire()
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto

    def getaddrinfo(host, port, *arguments, **named):
        name = host.decode() if isinstance(host, bytes) else host
        wire.asked.append(name)
        answers = wire.answers.get(name)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    def watched(original, into):
        def call(self, *arguments):
            if self.family in (socket.AF_INET, socket.AF_INET6):
                into.append(arguments[-1])
                if arguments[-1][0] not in ("127.0.0.1", "::1"):
                    raise ConnectionRefusedError("tests do not leave this machine")
            return original(self, *arguments)

        return call

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", watched(connect, wire.connected))
    monkeypatch.setattr(socket.socket, "connect_ex", watched(connect_ex, wire.connected))
    monkeypatch.setattr(socket.socket, "sendto", watched(sendto, wire.sent_to))
    return wire


@dataclass
class Request:
    """What reached the web server."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = bytes | Callable[[asyncio.StreamWriter], object]


@dataclass
class Web:
    """A web server: raw answers by path, and what was asked of it."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    closed: int = 0  # connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            method, path, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append(Request(method, path, headers, body))
            answer = self.answers.get(path.partition("?")[0], reply(404))
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
            await writer.drain()
            await reader.read()  # until the client has gone
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed += 1
            writer.close()


def reply(status: int = 200, body: bytes = b"", *headers: str, length: bool = True) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status} X", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: int = 302) -> bytes:
    """A redirect."""
    return reply(status, b"", f"Location: {location}")


@asynccontextmanager
async def web_server(tls=None, **answers: Answer) -> AsyncIterator[Web]:
    """`web_server(path=answer)` on 127.0.0.1."""
    web = Web(answers={f"/{path}": answer for path, answer in answers.items()})
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()


async def ask(body: str, hosts: list[str], arguments=(), manifest: list[str] | None = None, **how):
    """Run a program with this body, which `hosts` (the server's) and `manifest` (else: all) let out; its outcome."""
    wanted = hosts if manifest is None else manifest
    source = f"# /// inferlet\n# hosts = {wanted!r}\n# ///\n".replace("'", '"')
    lines = "\n    ".join(body.splitlines())
    source += f"import asyncio, json\nfrom inferlet import *\nasync def main():\n    {lines}\n"
    return await run_inferlet(source, arguments, capabilities=Capabilities.of(hosts), **how)


TRY = """
try:
    response = await http_get(get_arg()[0])
except PieError as error:
    return f"{type(error).__name__}: {error}"
return f"{response.status}: {response.text()}"
"""


async def get(url: str, hosts: list[str], **how) -> str:
    """What a program gets for a URL: `status: body`, or `error's class: message`."""
    outcome = await ask(TRY.strip(), hosts, [url], **how)
    assert outcome.ended.status == "finished", outcome.ended.error
    return outcome.ended.value
