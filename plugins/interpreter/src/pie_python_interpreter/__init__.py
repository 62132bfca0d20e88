"""Says where the prebuilt interpreter lies. The wheel has it; for an editable install nothing is there."""

from pathlib import Path

from pie_core import hookimpl


@hookimpl
def pie_interpreters() -> Path:
    return Path(__file__).with_name("prebuilt")
