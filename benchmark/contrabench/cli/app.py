"""The frame of the command line: commands, version, and how errors end it.

The modules of the commands import only typer and rich at their top, so `bench --help`
loads nothing heavy; each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from contrabench import __version__
from contrabench.cli import (
    advise,
    check,
    doctor,
    door,
    export,
    fit,
    here,
    inspect,
    listings,
    new,
    options,
    output,
    plan,
    predict,
    profile,
    report,
    run,
    status,
    store,
    study,
    submit,
)
from contrabench.errors import ContrabenchError
from contrabench.files import is_disk_full
from contrabench.text import one_line


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
    invoke_without_command=True,
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
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    plugin: options.Plugins = None,
) -> None:
    """What to do with unlabelled hearts when labels are few."""
    if context.invoked_subcommand is None:
        here.here()


for command in (
    *(run.run, plan.plan, study.app, status.status, report.report, submit.submit),
    advise.advise,
    *(fit.fit, predict.predict, export.export),
    *(inspect.inspect, profile.profile, doctor.doctor),
    listings.METHODS.commands(new.new_method, check.check_methods),
    listings.DATASETS.commands(),
    listings.BACKBONES.commands(new.new_backbone, check.check_backbones),
    *(listings.LOSSES.commands(), listings.METRICS.commands()),
    store.app,
):
    app.add_typer(command)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and ends the process by SystemExit.

    The code is 0 for done, 1 a run failed, 2 a wrong request, 130 interrupted. Whatever goes wrong
    is one line on standard error; of what nobody foresaw it names a file with the rest.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        # A thread that waits long for another one, as OpenMP's do, keeps that one from its core
        # where the machine is busy. It is read when torch is loaded, here and in workers.
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.exit(door.close_door(_ended(arguments)))


def _ended(arguments: list[str] | None) -> int:
    """Runs the command line; gives the exit code, after the line of what went wrong."""
    options.USED.store, options.USED.words = None, tuple(arguments or sys.argv[1:])
    try:
        door.open_door()
        code = app(args=arguments, prog_name="bench", standalone_mode=False)
    except BrokenPipeError:
        return 0
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # as rich ends a help that nobody reads
            return 0
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        words, code = _told(error)
        if words:
            output.show_error(words)
    return code if isinstance(code, int) else 0


def _told(error: Any) -> tuple[str, int]:
    """What went wrong in one line, and the exit code."""
    if isinstance(error, ContrabenchError):
        return str(error), error.exit_code
    if hasattr(error, "format_message"):  # words that no command takes; without any, the help
        if not (words := error.format_message().rstrip(".")):
            error.show()
        elif error.ctx is not None:
            words += f"; see {error.ctx.command_path} --help"
        return words, error.exit_code
    if is_disk_full(error):
        where = getattr(error, "filename", None) or "a file"
        return (
            f"no space is left to write {where}; what is finished is kept. Make room and run the "
            "same command again"
        ), 1
    return _unforeseen(error), 1


def _unforeseen(error: Exception) -> str:
    """What nobody foresaw, in one line that names the file with all that is known of it."""
    from contrabench.store.failures import keep_account

    path = keep_account(error, options.USED.store)
    where = "and no place was found to write about it" if path is None else f"see {path}"
    return (
        f"broken off by {one_line(error)}; this is a fault in the code of contrabench or of a "
        f"plug-in. What is finished is kept; for whoever mends it, {where}"
    )
