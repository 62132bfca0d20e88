"""Shows what an inferlet says: its texts on stdout exactly as they come, everything else on stderr."""

from __future__ import annotations

import click
import msgspec

from pie_core.application.events import Blob, Ended, Event, Message, Output


class Printer:
    """For people. Texts are not separated: a program that streams sends pieces, one that sends lines ends them."""

    def __init__(self) -> None:
        self._in_line = False

    def show(self, event: Event) -> None:
        """Print one event."""
        match event:
            case Message(text=text) | Output(text=text):
                self._write(text)
            case Blob(data=data):
                self._end_line()
                click.echo(f"[blob of {len(data)} bytes]", err=True)
            case Ended():
                self._show_end(event)

    def _show_end(self, ended: Ended) -> None:
        self._end_line()
        if ended.value is not None:
            self._write(ended.value)
            self._end_line()
        if ended.error is not None:
            click.secho(f"{ended.status}: {ended.error}", err=True, fg="red")

    def _write(self, text: str) -> None:
        if text:
            click.echo(text, nl=False)
            self._in_line = not text.endswith("\n")

    def _end_line(self) -> None:
        if self._in_line:
            click.echo()
            self._in_line = False


class JsonPrinter(Printer):
    """For programs: every event as one line of JSON, the form of the protocol."""

    def show(self, event: Event) -> None:
        """Print one event."""
        click.echo(msgspec.json.encode(event))
