"""Says where the programs lie: beside this file in a wheel, two directories up in a checkout."""

from pathlib import Path

from pie_core import hookimpl

_HERE = Path(__file__).parent


@hookimpl
def pie_programs() -> Path:
    return _HERE.parent.parent if _HERE.parent.name == "package" else _HERE
