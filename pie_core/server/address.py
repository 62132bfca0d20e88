"""Where a server listens: checked and taken before a model is loaded for minutes."""

from __future__ import annotations

import errno
import ipaddress
import socket

from pie_core.errors import ConfigError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8123
DEFAULT_URL = f"http://{DEFAULT_HOST}:{DEFAULT_PORT}"
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any that is free. Raises `ConfigError`."""
    family, address = _resolve(host, port)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not(host, port, error)) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address as a client names it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check_trust(host: str, trusted: bool) -> None:
    """Refuse to let other machines in, unless the user trusts whoever can reach the port. Raises `ConfigError`."""
    if trusted or is_loopback(host):
        return
    raise ConfigError(
        f"--host {host} lets other machines connect, and --native trusts programs: whoever connects can do "
        "anything on this machine that you can. Leave --native out, stay with --host 127.0.0.1 (an ssh tunnel reaches "
        "it from elsewhere), or add --trust-programs if you trust everyone who can reach the port"
    )


def check_anonymous(host: str, allowed: bool) -> None:
    """Refuse to let other machines in without keys, unless the user wants just that. Raises `ConfigError`.

    A server that is reached by mistake is found by scanners within minutes, and whoever finds it can use the model, see
    and stop what runs, and read what programs have stored.
    """
    if allowed or is_loopback(host):
        return
    raise ConfigError(
        f"--host {host} lets other machines connect, and there are no keys: everyone who can reach the port could use "
        "the server, and see and stop what runs. Make a key with `pie-core keys add USER`, stay with --host 127.0.0.1, "
        "or add --anonymous if something before the server checks who comes"
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine and nobody else can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host!r} is no address of this machine: {error}; try 127.0.0.1") from error
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _why_not(host: str, port: int, error: OSError) -> str:
    where = f"cannot listen on {host}, port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: the port is in use; stop what uses it, or take another one with --port (0: any that is free)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine does not have that address; try --host 127.0.0.1"
    if error.errno == errno.EACCES:
        return f"{where}: that needs privileges; take a --port of 1024 or more"
    return f"{where}: {error.strerror or error}"
