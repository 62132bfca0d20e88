"""`python -m pie_core.cli` is `pie-core`."""

from pie_core.cli import main

main(prog_name="pie-core")
