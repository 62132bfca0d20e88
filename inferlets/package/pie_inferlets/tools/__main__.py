"""`python -m pie_inferlets.tools`: serve the tools until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from pie_inferlets.tools.server import FACTS, ToolServer, read_facts


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m pie_inferlets.tools", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8124, help="0 takes any that is free")
    parser.add_argument("--facts", type=Path, default=FACTS, help="a JSON object: what lookup[key] finds")
    arguments = parser.parse_args()
    try:
        server = ToolServer((arguments.host, arguments.port), read_facts(arguments.facts))
    except (OSError, ValueError) as error:
        sys.exit(f"Error: {error}")
    with server:
        print(f"tools at http://{arguments.host}:{server.server_port}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
