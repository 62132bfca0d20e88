"""The command `pie-core`, one file per command. What is heavy is imported when a command runs: help is quick."""

import click

from pie_core.cli.build import build
from pie_core.cli.config import config
from pie_core.cli.doctor import doctor
from pie_core.cli.keys import keys
from pie_core.cli.new import new
from pie_core.cli.plugins import plugins
from pie_core.cli.remote import ps, stop
from pie_core.cli.run import run
from pie_core.cli.serve import serve
from pie_core.cli.wit import wit
from pie_core.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="pie-core")
def main() -> None:
    """Serve programs, not prompts: inferlets run beside the model and drive its generation themselves."""


for _command in (run, serve, ps, stop, keys, config, plugins, new, doctor, wit, build):
    main.add_command(_command)
