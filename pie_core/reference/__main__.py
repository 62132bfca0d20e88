"""`python -m pie_core.reference DIRECTORY`: write the pages, and tell what has no description."""

from __future__ import annotations

import sys
from pathlib import Path

from pie_core.errors import PieError
from pie_core.reference.pages import make_pages, write_pages

if __name__ == "__main__":
    try:
        write_pages(make_pages(), Path(sys.argv[1]))
    except PieError as error:
        sys.exit(f"Error: {error}")
