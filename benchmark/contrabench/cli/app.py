"""The frame of the command line: commands, version, and how errors end it.

The modules of the commands import only typer and rich at their top, so `bench --help`
loads nothing heavy; each command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from contrabench import __version__
from contrabench.cli import (
    check,
    doctor,
    inspect,
    listings,
    new,
    plan,
    profile,
    report,
    run,
    status,
    store,
    study,
    submit,
)
from contrabench.cli.common import PluginOption, examples, show_error
from contrabench.errors import ContrabenchError


class Bench(TyperGroup):
    """The top-level group; an interrupt ends it with one line like any other error."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command of a context."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            show_error("interrupted; what is finished is kept, run the same command again")
            raise typer.Exit(130) from None


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"contrabench {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=Bench,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    epilog=examples(
        "bench run --method mmgl --labels 10%", "bench methods show mmgl", "bench report"
    )
)
def bench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    plugin: PluginOption = None,
) -> None:
    """Which contrastive pre-training really helps when labels are few."""


for command in (run, plan, study, status, report, submit, inspect, profile, doctor):
    app.add_typer(command.app)
methods = listings.METHODS.commands()
methods.add_typer(new.app)
methods.add_typer(check.app)
app.add_typer(methods)
for kind in (listings.DATASETS, listings.BACKBONES):
    app.add_typer(kind.commands())
app.add_typer(store.app)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process by SystemExit.

    The code is 0 for done, 1 a run failed, 2 a wrong request, 130 interrupted.
    """
    try:
        app(args=arguments)
    except ContrabenchError as error:
        show_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        show_error(
            f"no space is left to write {error.filename or 'a file'}; what is finished is kept. "
            "Make room and run the same command again"
        )
        sys.exit(1)
