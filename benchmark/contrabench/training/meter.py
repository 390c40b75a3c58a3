"""What a step does beside what it is asked for, counted by the engine.

A loss is a plug-in's code: it may take other images through the network than its stage declares,
train what no optimiser of the engine's holds, or change the weights by itself. That shows on the
first steps and on one in a hundred; steps of another optimiser and changed weights on every one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.optim.optimizer import register_optimizer_step_post_hook

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.objective import StepResult
from contrabench.errors import AuditError
from contrabench.training.step import Step

_FIRST, _THEN_EVERY = 3, 100
_SLACK = 3
"""A loss may mix or disturb what it is given and look again; more it has to declare."""


def is_looked_at(number: int) -> bool:
    """Whether a step, counted from 0, is one of those that are looked at closely."""
    return number < _FIRST or number % _THEN_EVERY == 0


class Meter:
    """Watches the steps of one training.

    Attributes:
        counts: the most that one step took through networks, in whole slices: with a gradient, of
            those whose gradient came back, and without one; what is declared; and passes.
    """

    def __init__(self, step: Step) -> None:
        self.step, self.task = step, step.task
        self.weights = [p for p in step.task.network.parameters() if p.requires_grad]
        self.known = {id(p) for p in step.trained}
        self.counts: dict[str, float] = {}
        self.others = 0
        self.copies: list[Tensor] = []
        self.version = self._version()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watches the steps that are taken in the block."""
        optimizer = self.step.optimizer
        with ExitStack() as hooks:
            for handle in (
                optimizer.register_step_pre_hook(self._before_update),
                optimizer.register_step_post_hook(self._after_update),
                register_optimizer_step_post_hook(self._stepped),
            ):
                hooks.callback(handle.remove)
            yield

    def take(self, number: int) -> dict[str, Tensor]:
        """Takes a step, as `Step.take`.

        Raises:
            AuditError: rule 4, if weights move that no optimiser of the engine moves, or one of
                the plug-in's own does; rule 9, if more images are seen than are declared.
        """
        if not is_looked_at(number):
            logs = self.step.take(number)
        else:
            with self._looking():
                logs = self.step.take(number)
                self._demand_still("after the step")
                self.copies = []
        if self.others:
            raise self._two_hands()
        return logs

    def _version(self) -> int:
        """Grows whenever one of the weights is written to, and tells the host without a wait."""
        return sum(weight._version for weight in self.weights)

    def _stepped(self, optimizer: Any, *_: Any) -> None:
        if optimizer is not self.step.optimizer:
            # Noted as well, as the plug-in's code may catch what is raised.
            self.others += 1
            raise self._two_hands()

    def _two_hands(self) -> AuditError:
        return AuditError(
            4,
            "the plug-in's code takes optimiser steps of its own; the engine trains, a loss "
            "computes: leave the optimiser out",
        )

    def _before_update(self, *_: Any) -> None:
        self._demand_still("in the step, before the optimiser")

    def _after_update(self, *_: Any) -> None:
        self.version = self._version()
        if self.copies:
            self.copies = _copied(self.weights)

    def _demand_still(self, when: str) -> None:
        """Refuses weights of the network that are not those which the optimiser has left."""
        moved = self._version() != self.version
        if not moved and self.copies:
            gaps = torch._foreach_sub([w.detach() for w in self.weights], self.copies)
            # What is not finite has another fault, which the loop tells.
            moved = bool((torch.stack(torch._foreach_norm(gaps)) > 0).any())
        if moved:
            raise AuditError(
                4,
                f"weights of the network were changed {when}; the engine trains, a loss computes: "
                "write to no parameter, and leave optimisers out of the plug-in",
            )

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Counts what goes through networks in the block."""
        names = ("images", "came_back", "without_gradient", "passes")
        found, whole = dict.fromkeys(names, 0.0), self.task.pixels
        entries = {id(_entry(one)): True for one in _networks(self.task.network)}

        def enters(module: nn.Module, given: tuple[Any, ...]) -> None:
            if isinstance(module, Backbone):
                entries.setdefault(id(_entry(module)), False)
            if id(module) not in entries or not given:
                return
            learns = entries[id(module)] and torch.is_grad_enabled()
            share = given[0].shape[-2:].numel() / whole
            found["images" if learns else "without_gradient"] += len(given[0]) * share
            found["passes"] += 1

        def leaves(module: nn.Module, given: tuple[Any, ...], result: Any) -> None:
            if entries.get(id(module)) and isinstance(result, Tensor) and result.requires_grad:
                share = given[0].shape[-2:].numel() / whole
                result.register_hook(partial(came_back, share))  # type: ignore[no-untyped-call]
            if module is self.task and isinstance(result, StepResult):
                self._demand_known(result.loss)

        def came_back(share: float, gradient: Tensor) -> None:
            found["came_back"] += len(gradient) * share

        self.copies = _copied(self.weights)
        with ExitStack() as hooks:
            for handle in (
                register_module_forward_pre_hook(enters),
                register_module_forward_hook(leaves),
            ):
                hooks.callback(handle.remove)
            # Compiled code would not call them.
            for network in _networks(self.task):
                compiled, network._compiled_call_impl = network._compiled_call_impl, None
                hooks.callback(setattr, network, "_compiled_call_impl", compiled)
            yield
        self.counts = {name: max(n, self.counts.get(name, 0)) for name, n in found.items()}
        if math.isfinite(self.task.apart):
            self.counts["apart"] = self.task.apart
        self._demand_declared(found["images"])

    def _demand_known(self, loss: Tensor) -> None:
        """Refuses a loss with a gradient for something that the optimiser does not hold."""
        for leaf in _leaves(loss):
            if id(leaf) not in self.known:
                raise AuditError(
                    4,
                    f"the loss has a gradient for a tensor of shape {tuple(leaf.shape)} that no "
                    "optimiser holds; make it a parameter of the objective in __init__, or detach "
                    "it",
                )

    def _demand_declared(self, images: float) -> None:
        """Refuses many more images than the stage says."""
        drawn, declared = self.task.images(self.step.phase)
        self.counts["declared"] = drawn
        most = declared or _SLACK * drawn
        # One of several devices sees a part of them.
        if images > most and self.step.runtime.devices == 1:
            raise AuditError(
                9,
                f"{images:g} images went through the network in a step, with a gradient, and "
                f"{declared or drawn} are declared; declare the views, or in `passes` what the "
                "loss makes of each slice, and it is told beside the number",
            )


def _copied(weights: list[nn.Parameter]) -> list[Tensor]:
    return [weight.detach().clone() for weight in weights]


def _networks(module: nn.Module) -> list[Backbone]:
    return [one for one in module.modules() if isinstance(one, Backbone)]


def _entry(network: Backbone) -> nn.Module:
    """The layer that an image meets first."""
    return next(one for one in network.part(network.parts[0]).modules() if not [*one.children()])


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """The tensors that a loss has a gradient for."""
    waiting, seen = [loss.grad_fn], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(variable := getattr(node, "variable", None), Tensor):
            yield variable
        waiting.extend(following for following, _ in node.next_functions)
