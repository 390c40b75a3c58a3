"""`bench fit`: a network to be used, trained on everybody there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench.cli import options, output
from contrabench.cli.asked import FitArguments
from contrabench.cli.study_view import store_words
from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.text import counted

if TYPE_CHECKING:
    from contrabench.stages.run_spec import RunSpec


@options.command(
    "bench fit --method mmgl --dataset nifti --data mine/",
    "bench fit 1f3a --data mine/",
    "bench fit --winner --data mine/",
)
@options.takes(FitArguments)
def fit(asked: FitArguments, *, json: options.Json = False) -> None:
    """Train a method on all labelled patients, the rest as pool: a network to predict with.

    Nobody is left to test it on; what to expect of it is in the rows of the study that chose it.
    """
    runtime = asked.runtime()
    from contrabench.files import read_json
    from contrabench.stages.fit import FIT_RECORD
    from contrabench.study.fitting import fit_network

    settings, reporter = asked.settings(), output.reporter(stderr=json)
    spec = _spec(asked, runtime.device, runtime.precision, reporter)
    roots = asked.roots_of(spec.dataset, spec.pool)
    folder = fit_network(spec, *roots, settings.store, runtime, reporter)
    record = read_json(folder / FIT_RECORD)
    if json:
        output.write_json(record)
        return
    patients = record["patients"]
    where = store_words(settings.store)
    reporter.console.print(
        f"{spec.variant()} is trained on {counted(len(patients['train']), 'patient')}, "
        f"{len(patients['labelled'])} of them labelled. There is no test set: what to expect of it "
        "is what a study of the same settings has shown.",
        f"Files: {folder}",
        f"Use it: bench predict {folder.name[:8]} INPUTS --out masks/{where}",
        f"Give it away: bench export {folder.name[:8]} --out network/{where}",
        sep="\n",
        soft_wrap=True,
        markup=False,
    )


def _spec(asked: FitArguments, device: str, precision: str, reporter: Reporter) -> RunSpec:
    """What is to be trained, as a run of the store was, or by the words of the command line."""
    from contrabench.stages.run_spec import RunSpec
    from contrabench.study.runs import runs_of
    from contrabench.use.trained import find_trained
    from contrabench.use.winner import winner_of

    ways = [asked.run is not None, asked.method is not None, asked.winner]
    if sum(ways) != 1:
        raise RequestError("name what to train: a RUN of the store, --method NAME, or --winner")
    store = asked.settings().store
    if asked.method is not None:
        (spec,) = runs_of(asked.spec(), device, precision)[0]
        return spec
    if asked.winner:
        found = winner_of(store, asked.dataset, None, reporter)
        reporter.line(
            f"best of {counted(found.others + 1, 'method')} on {found.dataset} with labels of "
            f"{found.labels}: {found.variant}, mean Dice {found.dice:.3f}; bench report says what "
            "it is shown to be better than"
        )
        if found.scratch >= found.dice:
            reporter.line(
                f"no method is above scratch, whose mean is {found.scratch:.3f} there; `bench fit "
                "--method scratch` trains that"
            )
        record = find_trained(found.run, store).record
    else:
        record = find_trained(str(asked.run), store).record
    spec = RunSpec.model_validate(record["spec"])
    return spec.model_copy(update={"labels": asked.labels, "precision": precision, "draw": 0})
