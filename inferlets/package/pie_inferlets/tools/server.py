"""Three tools as plain text over HTTP: POST /calculator, GET /lookup?key=, GET /clock?what=. For trying agents out."""

from __future__ import annotations

import ast
import json
import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

FACTS = Path(__file__).parent / "facts.json"
LONGEST_BODY = 10_000  # bytes
OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
CLOCK_FORMATS = {"time": "%H:%M", "date": "%Y-%m-%d", "year": "%Y"}


class WrongRequestError(Exception):
    """Nothing is known, or the question makes no sense."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class ToolServer(ThreadingHTTPServer):
    """Serves until `shutdown`.

    facts: what `lookup` finds, by key; keys `zone of CITY` name the zones that `clock` knows. now: the time in a zone.
    """

    def __init__(
        self, address: tuple[str, int], facts: Mapping[str, str], now: Callable[[ZoneInfo], datetime] = datetime.now
    ) -> None:
        super().__init__(address, _Handler)
        self.facts = facts
        self.now = now

    def calculator(self, expression: str) -> str:
        """Sums, differences, products and quotients, exact, then to two decimals."""
        try:
            value = _value(ast.parse(expression.strip(), mode="eval").body)
        except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError, MemoryError):
            raise WrongRequestError(HTTPStatus.BAD_REQUEST, "not a sum") from None
        return str(value.numerator) if value.denominator == 1 else str(round(float(value), 2))

    def lookup(self, key: str) -> str:
        """The fact of a key."""
        if key not in self.facts:
            raise WrongRequestError(HTTPStatus.NOT_FOUND, "no such key")
        return self.facts[key]

    def clock(self, what: str) -> str:
        """`time`, `date` or `year`, of UTC or, with ` in CITY` behind it, of a city."""
        unit, _, city = what.partition(" in ")
        if unit not in CLOCK_FORMATS:
            raise WrongRequestError(HTTPStatus.NOT_FOUND, "no such time")
        try:
            zone = ZoneInfo(self.lookup(f"zone of {city}") if city else "UTC")
        except ZoneInfoNotFoundError:
            raise WrongRequestError(HTTPStatus.NOT_FOUND, "no such zone") from None
        return self.now(zone).strftime(CLOCK_FORMATS[unit])


class _Handler(BaseHTTPRequestHandler):
    server: ToolServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        fields = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match parts.path:
            case "/lookup":
                self._answer(lambda: self.server.lookup(fields.get("key", "")))
            case "/clock":
                self._answer(lambda: self.server.clock(fields.get("what", "")))
            case _:
                self._reply(HTTPStatus.NOT_FOUND, "no such tool")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            self._reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too long")
        elif self.path != "/calculator":
            self._reply(HTTPStatus.NOT_FOUND, "no such tool")
        else:
            expression = self.rfile.read(int(length)).decode("utf-8", "replace")
            self._answer(lambda: self.server.calculator(expression))

    def _answer(self, tool: Callable[[], str]) -> None:
        try:
            self._reply(HTTPStatus.OK, tool())
        except WrongRequestError as error:
            self._reply(error.status, str(error))

    def _reply(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def read_facts(path: Path) -> dict[str, str]:
    """A JSON object of texts. Raises `ValueError`."""
    try:
        facts = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError(f"{path}: expected a JSON object whose values are texts")
    return facts


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number):
            return Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left), _value(right))
    raise ValueError(node)
