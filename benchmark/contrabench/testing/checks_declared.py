"""Checks of what a method declares; nothing is trained for them."""

from __future__ import annotations

from pydantic import ValidationError

from contrabench.contracts.method import Method, Published, Stage
from contrabench.errors import ContrabenchError
from contrabench.protocol import canonical_json
from contrabench.testing.conformity import CheckList, FaultError
from contrabench.testing.trial import Trial

CHECKS = CheckList()


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in one line."""
    detail = error.errors()[0]
    return f"'{'.'.join(str(part) for part in detail['loc'])}': {detail['msg']}"


@CHECKS.enter(whole=True)
def check_options(trial: Trial) -> None:
    """Every option has a valid default and a description, and survives JSON."""
    method = trial.method_class
    for name, field in method.Options.model_fields.items():
        if field.is_required():
            raise FaultError(
                f"option '{name}' has no default",
                "give one in its Field: every method runs without any option set",
            )
        if not (field.description or "").strip():
            raise FaultError(
                f"option '{name}' has no description",
                "give one in its Field; `bench methods show` prints it",
            )
    made = trial.options or method.Options()
    try:
        # pydantic takes defaults on trust; read back as input they are looked at.
        method.Options.model_validate(made.model_dump())
        again = method.Options.model_validate_json(canonical_json(made))
    except (ValidationError, ValueError) as error:
        text = first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise FaultError(
            f"the options do not survive being written and read again ({text})",
            "let every default fit its own constraints, and use types that JSON knows",
        ) from error
    if again != made:
        raise FaultError(
            "the options read back from JSON are others than were written",
            "use types that JSON keeps apart: no sets, no bytes, tuples rather than lists",
        )


@CHECKS.enter(whole=True)
def check_declaration(trial: Trial) -> None:
    """The method says what it is: title, family, paper, and what was inferred."""
    method = trial.method_class
    info = method.info
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


@CHECKS.enter("options", whole=True)
def check_stages(trial: Trial) -> None:
    """Names differ, parts are known, views can be made, and the recipe fits the stages."""
    method = trial.method
    stages = method.stages()
    if stages != method.stages():
        raise FaultError(
            "stages() returns something else when asked again",
            "let it depend on the options alone",
        )
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names) or not all(names):
        raise FaultError(
            f"the stages are called {', '.join(map(repr, names))}",
            "give each a name of its own; results are kept under it",
        )
    for stage in stages:
        _check_parts(stage, trial.backbone.parts)
        _check_views(stage)
    for each in trial.stages:
        try:
            each.batches(1)
        except ContrabenchError as error:
            raise FaultError(
                f"the views of stage '{each.stage.name}' cannot be used: {error}",
                "look at Stage.views and Stage.partitions",
            ) from error
    if method.published is not None:
        _check_recipe(method, method.published)


def _check_parts(stage: Stage, parts: tuple[str, ...]) -> None:
    if unknown := [part for part in stage.trains if part not in parts]:
        raise FaultError(
            f"stage '{stage.name}' trains '{unknown[0]}', which is no part of the backbone",
            f"the parts are {', '.join(parts)}",
        )
    if not stage.trains or len(set(stage.trains)) < len(stage.trains):
        raise FaultError(
            f"stage '{stage.name}' trains no part of the backbone, or one twice",
            "name each part that it trains once in Stage.trains",
        )


def _check_views(stage: Stage) -> None:
    if not stage.views:
        raise FaultError(f"stage '{stage.name}' has no view", "give it one ViewSpec at least")
    for number, view in enumerate(stage.views):
        if view.geometry_of is not None and view.geometry_of >= number:
            raise FaultError(
                f"view {number} of stage '{stage.name}' takes the geometry of view "
                f"{view.geometry_of}, which is not made before it",
                "let `geometry_of` name an earlier view",
            )
    if stage.labelled_slices_only and not stage.labels:
        raise FaultError(
            f"stage '{stage.name}' draws labelled slices only, but declares labels=False",
            "declare labels=True: which slices are labelled is knowledge of the labels",
        )


def _check_recipe(method: Method, published: Published) -> None:
    """The published recipe names stages and options that the method has."""
    try:
        options = method.Options.model_validate(
            {**method.options.model_dump(), **published.options}
        )
    except ValidationError as error:
        raise FaultError(
            f"`published.options` do not fit the method's ({first_fault(error)})",
            "name options of the method, with values that they take",
        ) from error
    # Options may leave a stage out that the recipe knows.
    made = (method, type(method)(), type(method)(options))
    names = [stage.name for each in made for stage in each.stages()]
    if strange := [name for name in published.stages if name not in names]:
        raise FaultError(
            f"`published.stages` names '{strange[0]}', which is no stage",
            f"the stages are {', '.join(dict.fromkeys(names)) or 'none'}",
        )
