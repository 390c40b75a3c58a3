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
    options,
    output,
    plan,
    profile,
    report,
    run,
    status,
    store,
    study,
    submit,
)
from contrabench.errors import ContrabenchError


class Bench(TyperGroup):
    """The top-level group; an interrupt ends it with one line like any other error."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command of a context."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            output.show_error("interrupted; what is finished is kept, run the same command again")
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
    epilog=options.examples(
        "bench run --method mmgl --labels 10%", "bench methods show mmgl", "bench report"
    )
)
def bench(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    plugin: options.Plugins = None,
) -> None:
    """Which contrastive pre-training really helps when labels are few."""


for command in (
    *(run.run, plan.plan, study.app, status.status, report.report, submit.submit),
    *(inspect.inspect, profile.profile, doctor.doctor),
    *(listings.METHODS.commands(new.new_method, check.check), listings.DATASETS.commands()),
    *(listings.BACKBONES.commands(), store.app),
):
    app.add_typer(command)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process by SystemExit.

    The code is 0 for done, 1 a run failed, 2 a wrong request, 130 interrupted.
    """
    try:
        app(args=arguments)
    except ContrabenchError as error:
        output.show_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        output.show_error(
            f"no space is left to write {error.filename or 'a file'}; what is finished is kept. "
            "Make room and run the same command again"
        )
        sys.exit(1)
