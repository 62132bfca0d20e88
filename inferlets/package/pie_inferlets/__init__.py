"""Says where the programs lie: beside this file in a wheel, two directories up in a checkout."""

from pathlib import Path

from pie_core import hookimpl

_HERE = Path(__file__).parent
_INSTALLED = _HERE / "programs"


@hookimpl
def pie_programs() -> Path:
    return _INSTALLED if _INSTALLED.is_dir() else _HERE.parent.parent
