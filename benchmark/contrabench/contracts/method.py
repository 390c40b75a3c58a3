"""The contract of a method: what it declares, and the one thing it computes.

It says which stages it has. A pre-training stage says which views it wants, which parts of the
backbone it trains and whether it may see labels; a joint stage takes the place of the common
fine-tuning and says which slices without labels it sees beside the labelled ones. For each the
method returns a torch module with a loss. It never loops, loads data, or touches optimiser or
device: the engine does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from contrabench import limits
from contrabench.contracts.views import ViewSpec
from contrabench.errors import RequestError
from contrabench.protocol import (
    ENCODER,
    ORIENTATIONS,
    Budget,
    Course,
    Frozen,
    Optimizer,
    Orientation,
    Schedule,
)
from contrabench.protocol import Options as _Options
from contrabench.references import LONGER_WORD

ALL_VIEWS = "three orientations"
"""How tables name what is pre-trained on them."""
COMMON_LOSS = "dice_ce"
"""What labelled slices are trained with unless a run deviates."""

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.objective import JointObjective, Network, Objective

Fidelity = Literal["official", "re-implementation", "reconstruction"]
AgainstCollapse = Literal["negatives", "clusters", "decorrelation", "asymmetry", "nothing"]


class MethodInfo(Frozen):
    """What a reader must know about a method before trusting its row."""

    title: str
    family: str = Field(
        description="what is done with images without labels, as tables group it: contrast before, "
        "contrast during, consistency, reconstruction, reference, control, or a word of its own"
    )
    kind: str = Field("", description="within the family, e.g. instance contrast")
    paper: str = Field(description="authors, venue, year, DOI; or why there is none")
    fidelity: Fidelity
    inferred: tuple[str, ...] = Field((), description="details that no source settles")
    needs: tuple[str, ...] = Field((), description="what the data must give beside images")
    against_collapse: AgainstCollapse = Field(
        "negatives",
        description="what keeps all embeddings from becoming one: `negatives` that repel, "
        "`clusters` of equal size, `decorrelation` of dimensions, `asymmetry` of the branches "
        "(a stopped gradient), or `nothing`, for a loss that one embedding would not satisfy",
    )
    version: int = Field(
        1, ge=0, le=limits.NARROW, description="raised when the method computes something else"
    )


def _bare(name: str) -> RequestError:
    return RequestError(
        f"the stage '{name}' is given where a tuple of stages is due; write (stage,), with comma"
    )


class Stage(Frozen):
    """One pre-training stage, as data: enough to plan, hash and audit it without torch."""

    name: str
    views: tuple[ViewSpec, ...] = (ViewSpec(), ViewSpec())
    trains: tuple[str, ...] = ENCODER
    labels: bool = Field(False, description="sees the masks of the label manifest, nothing else")
    labelled_slices_only: bool = Field(False, description="draws slices of labelled patients only")
    partitions: int = Field(
        0, ge=0, description="draw one slice from each of this many parts of a volume; 0: uniform"
    )
    share: float = Field(1.0, gt=0, description="of the method's pre-training images")
    passes: int | None = Field(
        None,
        gt=0,
        description="images of a slice that go through the network with a gradient, if the loss "
        "makes more of it than the views; told beside every number",
    )
    every_label: bool = Field(
        False, description="sees the masks of all training patients; only in a control (rule 2)"
    )
    spoilt: Literal["nothing", "images", "masks"] = Field(
        "nothing",
        description="noise stands for the images, or masks are those of other patients' slices; "
        "only in a control",
    )

    @property
    def controls(self) -> bool:
        """Whether only a control may have such a stage."""
        return self.every_label or self.spoilt != "nothing"

    def __iter__(self) -> NoReturn:
        """No stage is walked through: it stands alone where a tuple of stages is due."""
        raise _bare(self.name)


class Predicted(Frozen):
    """Labels of a stream's slices as the stage before predicts them; masks that may be seen stay.

    They are predicted once, whole volumes at a time, by the last weights of that stage.
    """

    threshold: float = Field(
        0.0, ge=0, le=1, description="a pixel whose likeliest class is less probable is ignored"
    )
    largest: bool = Field(
        False, description="keep the largest connected part of each structure, in 3D"
    )


class Stream(Frozen):
    """Slices that a joint stage draws in every step beside the labelled ones, and their views."""

    draws: Literal["unlabelled", "labelled", "any"] = Field(
        "unlabelled", description="slices whose masks may not be used, those whose may, or both"
    )
    views: tuple[ViewSpec, ...] = Field((ViewSpec(),), min_length=1)
    share: float = Field(1.0, gt=0, description="of the slices without labels of a step")
    masks: Literal["none", "labels"] | Predicted = Field(
        "none",
        description="what travels with them: nothing, masks that may be used, or labels "
        "that the stage before predicts",
    )


class JointStage(Frozen):
    """One stage of fine-tuning with labelled and unlabelled slices at once, or with either.

    It trains the whole network. The engine draws the labelled slices, in the one view of the common
    fine-tuning, and as many others as pre-training would see, shared out among the streams.
    """

    name: str
    streams: tuple[Stream, ...] = (Stream(),)
    share: float = Field(1.0, gt=0, description="of the steps of fine-tuning")
    passes: int | None = Field(None, gt=0, description="as of a stage, of every slice of a step")
    restarts: bool = Field(False, description="from where fine-tuning begins, not the stage before")

    @property
    def predicted(self) -> bool:
        """Whether a stream carries labels that the stage before predicts."""
        return any(isinstance(stream.masks, Predicted) for stream in self.streams)

    def __iter__(self) -> NoReturn:
        """As of a stage of pre-training."""
        raise _bare(self.name)


class Deviations(Frozen):
    """What a run changes besides its pre-training; any method can have each of them."""

    views: Literal["axial", "all"] = Field("axial", description="orientations pre-trained on")
    deep_supervision: bool = Field(False, description="fine-tune with heads on three levels")
    course: Course = Field("common", description="how the rates of fine-tuning run")
    augmentation: Literal["none", "mild", "strong"] = Field(
        "mild", description="of the labelled slices in fine-tuning"
    )
    score: Literal["student", "teacher"] = Field(
        "student",
        description="what is tested: the network that is trained, or an average of it over the "
        "steps, the method's own where it has one",
    )
    loss: str = Field(COMMON_LOSS, description="of the labelled slices, from `bench losses`")
    finetune_extra: float = Field(
        0.0, ge=0, description="share of the pre-training images that fine-tuning sees more"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Usual runs keep the keys that they had before length and loss could be others."""
        found: dict[str, Any] = write(self)
        for name in ("loss", "finetune_extra"):
            if getattr(self, name) == type(self).model_fields[name].default:
                found.pop(name, None)
        return found

    @property
    def of_finetuning(self) -> Deviations:
        """Those that change fine-tuning or what is tested, and need a reference that has them."""
        return self.model_copy(update={"views": "axial"})

    @property
    def orientations(self) -> tuple[Orientation, ...]:
        """What volumes are cut in for pre-training."""
        return ORIENTATIONS if self.views == "all" else ("axial",)

    def labels(self, budget: Budget | None = None) -> tuple[str, ...]:
        """The deviations in force, as short words for a table of a budget."""
        longer = f"finetune +{self.finetune_extra:g} pre-trainings"
        if budget is not None:
            own, more = budget.finetune.images, self.finetune_extra * budget.pretrain.images
            longer = f"{LONGER_WORD} x{(own + more) / own:.3g}"
        told = {
            ALL_VIEWS: self.views == "all",
            "deep supervision": self.deep_supervision,
            f"{self.course.replace('_', ' ')} course of rates": self.course != "common",
            f"{self.augmentation.replace('none', 'no')} augmentation": self.augmentation != "mild",
            f"loss {self.loss}": self.loss != COMMON_LOSS,
            "scores an average of the network": self.score == "teacher",
            longer: self.finetune_extra > 0,
        }
        return tuple(words for words, is_so in told.items() if is_so)


class Optimisation(Frozen):
    """How a paper optimises one stage, as far as its paper or code says."""

    optimizer: Optimizer
    lr: float = Field(gt=0, description="peak rate, for `lr_batch` images in a step")
    lr_batch: int | None = Field(
        None, gt=0, description="the rate grows with the batch from this one; None: it stays"
    )
    batch: int | None = Field(None, gt=0, description="images in a step; None: the budget's")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd and lars")
    weight_decay: float = Field(0.0, ge=0)
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the steps with a rising rate")
    schedule: Schedule = "cosine"
    clip: float | None = Field(None, gt=0, description="largest gradient norm; None: any")
    source: str = Field(description="where these values stand")


class Published(Frozen):
    """What `--recipe published` takes from the paper instead of the common recipe."""

    stages: dict[str, Optimisation] = Field(description="by name of the stage")
    options: dict[str, Any] = Field(
        {}, description="options that the paper sets otherwise than the defaults here"
    )
    unknown: tuple[str, ...] = Field(
        (), description="what no source gives or the harness cannot take, and stays common"
    )


Seen = Literal["no", "yes", "unknown"]


class Checkpoint(Frozen):
    """Weights from outside, which fine-tuning begins with in the place of a pre-training."""

    file: str = Field(description="path of a file of safetensors or of torch")
    keys: tuple[tuple[str, str], ...] = Field(
        (), description="beginnings of names in the file, and what stands for them in the backbone"
    )
    source: str = Field("", description="who has trained them on what")
    licence: str = Field("", description="of the weights")
    seen: Seen = Field(
        "unknown", description="whether test patients of the dataset were in their training"
    )


class Method(ABC):
    """Base class of every method, built-in or a stranger's.

    Attributes:
        deviations: those that belong to the published method; the user's `--views` and
            `--deep-supervision` override them.
        finetune_extra: share of the pre-training images by which its fine-tuning is longer: a
            deviation of every method but the reference that is there for it.
        published: the paper's own optimisation; None where no source gives one.
        of_hand_off: options that change `transfers()` alone: runs that differ in no other share
            their pre-training.
    """

    info: ClassVar[MethodInfo]
    Options: ClassVar[type[_Options]] = _Options
    deviations: ClassVar[Deviations] = Deviations()
    finetune_extra: ClassVar[float] = 0.0
    published: ClassVar[Published | None] = None
    of_hand_off: ClassVar[tuple[str, ...]] = ()

    def __init__(self, options: _Options | None = None) -> None:
        self.options = self.Options() if options is None else options

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The pre-training stages in order; empty for a method without pre-training."""

    @abstractmethod
    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Builds the module that computes the loss of one of the stages.

        Read the backbone's channel counts and keep no reference to it: it is the network to be
        trained. A momentum copy is a deep copy.
        """

    def joint_stages(self) -> tuple[JointStage, ...]:
        """The stages that take the place of the common fine-tuning, in order; empty for that."""
        return ()

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """Builds the module that computes what one of the joint stages adds to supervision.

        As for `objective`: no reference to the network is kept, a teacher is a copy.
        """
        raise RequestError(
            f"{self.info.title} declares the joint stage '{stage.name}' and has no joint_objective "
            "for it; write one"
        )

    def transfers(self) -> tuple[str, ...]:
        """Parts handed to fine-tuning; by default all that any stage has trained.

        `head` is the segmentation head of the last stage's objective.
        """
        return tuple(dict.fromkeys(part for stage in self.stages() for part in stage.trains))

    def checkpoint(self) -> Checkpoint | None:
        """Weights from outside that take the place of pre-training stages; None for none."""
        return None

    def label_dependent(self) -> bool:
        """Whether any stage sees masks of the manifest, so that each one needs its own."""
        return any(stage.labels and not stage.every_label for stage in self.stages())


class JointMethod(Method):
    """Base class of methods that use the images without labels during fine-tuning alone."""

    def stages(self) -> tuple[Stage, ...]:
        """None: nothing is pre-trained."""
        return ()

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Never asked for."""
        raise RequestError(f"{self.info.title} pre-trains nothing, so it has no '{stage.name}'")

    @abstractmethod
    def joint_stages(self) -> tuple[JointStage, ...]:
        """The stages that take the place of the common fine-tuning, in order, one at least."""

    @abstractmethod
    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """As that of a method."""
