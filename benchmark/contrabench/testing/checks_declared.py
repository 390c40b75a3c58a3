"""Checks of what a method declares as a whole, and of what it hands over."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from contrabench.contracts.method import Deviations, MethodInfo
from contrabench.contracts.options import fault_words
from contrabench.errors import AuditError, ContrabenchError
from contrabench.model.weights import hand_off
from contrabench.protocol import HEAD, Options, canonical_json
from contrabench.references import NOT_COMPARED
from contrabench.testing.report import FaultError
from contrabench.testing.trial import Trial


def _first_fault(error: ValueError, options: type[Options]) -> str:
    """The first thing that is wrong with some options, in one line."""
    if isinstance(error, ValidationError):
        return fault_words(error.errors()[0], options)
    return str(error)


def _demand_known(names: Sequence[str], known: Sequence[str], who: str, kind: str) -> None:
    """A fault if somebody names what is not known."""
    if strange := [name for name in names if name not in known]:
        raise FaultError(
            f"{who} '{strange[0]}', which is no {kind}", f"there are {', '.join(known) or 'none'}"
        )


def check_options(trial: Trial) -> None:
    """Every option has a valid default and a description, and survives JSON."""
    demand_options(trial.method_class.Options, trial.options, "method")


def demand_options(cls: type[Options], given: Options | None, kind: str) -> None:
    """A fault if the options of a kind of plug-in, or those `given`, are not as they must be."""
    for name, field in cls.model_fields.items():
        if field.is_required():
            raise FaultError(
                f"option '{name}' has no default",
                f"give one in its Field: every {kind} runs without any option set",
            )
        if not (field.description or "").strip():
            raise FaultError(
                f"option '{name}' has no description",
                f"give one in its Field; `bench {kind}s show` prints it",
            )
    made = given or cls()
    try:
        # pydantic takes defaults on trust; read back as input they are looked at.
        cls.model_validate(made.model_dump())
        again = cls.model_validate_json(canonical_json(made))
    except ValueError as error:
        raise FaultError(
            f"the options do not survive being written and read again ({_first_fault(error, cls)})",
            "let every default fit its own constraints, and use types that JSON knows",
        ) from error
    if again != made:
        raise FaultError(
            "the options read back from JSON are others than were written",
            "use types that JSON keeps apart: no sets, no bytes, tuples rather than lists",
        )


def check_declaration(trial: Trial) -> None:
    """The method says what it is: title, family, paper, and what was inferred."""
    method = trial.method_class
    info = method.info
    if not isinstance(info, MethodInfo) or not isinstance(method.deviations, Deviations):
        raise FaultError(
            "`info` is no MethodInfo or `deviations` no Deviations",
            "make them of contrabench.MethodInfo and contrabench.Deviations",
        )
    for name in ("title", "family", "paper"):
        if not getattr(info, name).strip():
            raise FaultError(
                f"`info.{name}` is empty",
                "fill it in; for a method without a paper say why there is none",
            )
    if info.fidelity == "reconstruction" and not info.inferred:
        raise FaultError(
            "a reconstruction, but `info.inferred` is empty",
            "list every detail that no source settles; readers judge the row by it",
        )
    if method.finetune_extra < 0:
        raise FaultError(
            "`finetune_extra` is below zero", "give a share of the pre-training images, 0 for none"
        )


def check_stages(trial: Trial) -> None:
    """Names differ, parts are known, views can be made, and the recipe fits the stages."""
    stages, joint = trial.method.stages(), trial.method.joint_stages()
    if (stages, joint) != (trial.method.stages(), trial.method.joint_stages()):
        raise FaultError(
            "its stages are others when asked for again",
            "let it depend on the options alone",
        )
    names = [*(stage.name for stage in stages), *(stage.name for stage in joint)]
    if len(set(names)) < len(names) or not all(names):
        raise FaultError(
            f"the stages are called {', '.join(map(repr, names))}",
            "give each a name of its own; results are kept under it",
        )
    for stage in stages:
        who = f"stage '{stage.name}'"
        _demand_known(stage.trains, trial.network().parts, f"{who} trains", "part of the backbone")
        if not stage.trains or len(set(stage.trains)) < len(stage.trains):
            raise FaultError(
                f"{who} trains no part of the backbone, or one twice",
                "name each part that it trains once in Stage.trains",
            )
        if not stage.views:
            raise FaultError(f"{who} has no view", "give it one ViewSpec at least")
        for number, view in enumerate(stage.views):
            if view.geometry_of is not None and view.geometry_of >= number:
                raise FaultError(
                    f"view {number} of {who} takes the geometry of view {view.geometry_of}, "
                    "which is not made before it",
                    "let `geometry_of` name an earlier view",
                )
        if stage.labelled_slices_only and not stage.labels:
            raise FaultError(
                f"{who} draws labelled slices only, but declares labels=False",
                "declare labels=True: which slices are labelled is knowledge of the labels",
            )
    for each in trial.stages:
        try:
            each.batches(1)
        except ContrabenchError as error:
            raise FaultError(
                f"the views of stage '{each.stage.name}' cannot be used: {error}",
                "look at Stage.views and Stage.partitions",
            ) from error
    _check_recipe(trial)


def _check_recipe(trial: Trial) -> None:
    """The published recipe, if there is one, names stages and options that the method has."""
    method, kind, published = trial.method, trial.method_class, trial.method.published
    if published is None:
        return
    try:
        options = kind.Options.model_validate({**method.options.model_dump(), **published.options})
    except ValidationError as error:
        raise FaultError(
            f"`published.options` do not fit the method's ({_first_fault(error, kind.Options)})",
            "name options of the method, with values that they take",
        ) from error
    # Options may leave a stage out that the recipe knows.
    stages = (stage for each in (method, kind(), kind(options)) for stage in each.stages())
    names = list(dict.fromkeys(stage.name for stage in stages))
    _demand_known(list(published.stages), names, "`published.stages` names", "stage")


def check_hand_off(trial: Trial) -> None:
    """What is handed over was trained, and its tensors fit a fresh backbone."""
    method = trial.method
    parts = [part for part in method.transfers() if part != HEAD]
    trained = {part for stage in method.stages() for part in stage.trains}
    _demand_known(parts, trial.network().parts, "transfers() names", "part of the backbone")
    if untrained := [part for part in parts if part not in trained]:
        raise FaultError(
            f"'{untrained[0]}' is handed over, but no stage trains it",
            "leave it out of transfers(), or train it: its initial weights are there anyway",
        )
    if trained and not parts and method.info.family not in NOT_COMPARED:
        raise FaultError(
            "nothing is handed over, so that the pre-training is in vain",
            "name parts in transfers(), or declare the family 'control'",
        )
    if (
        HEAD in method.transfers()
        and trial.stages[-1].fresh().objective.segmentation_head() is None
    ):
        raise FaultError(
            "the head is handed over, but the last stage's objective has none",
            "give it as Objective.segmentation_head(), or leave `head` out of transfers()",
        )
    if parts:
        try:
            hand_off(trial.stages[-1].end, trial.network(1), parts)
        except AuditError as error:
            raise FaultError(str(error), "keep the backbone's layers as they are") from error
