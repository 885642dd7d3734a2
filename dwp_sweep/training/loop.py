"""The one training loop: source networks, kernel VAEs and all target methods run through `fit`.

Adam and ReduceLROnPlateau as in Table 1 (Table 2 for VAEs), the best validation epoch kept, a
checkpoint every epoch. Resuming is bit-equal on the CPU: order and noise generators are part of
the checkpoint. A `Learner` brings networks, losses and data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from dwp_sweep.errors import DivergedError, StopTrial
from dwp_sweep.strict import StrictModel, expert, unkeyed
from dwp_sweep.training.checkpoint import (
    flatten_optimizer,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
    under_prefix,
    with_prefix,
)
from dwp_sweep.training.compute import named_generator

SPENT = 1.5
"""Rates below this times ``stop_lr`` end training: 1e-3 * 0.1**3 is 1.0000000000000002e-06 as a float."""


class TrainingLength(NamedTuple):
    """How long a training may become, in steps."""

    max_epochs: int
    steps_per_epoch: int

    @property
    def n_steps(self) -> int:
        """Of the whole training, if the rate does not end it before."""
        return self.max_epochs * self.steps_per_epoch


class TrainConfig(StrictModel):
    """Schedule of one training (Table 1 of the paper).

    Attributes:
        lr: Initial learning rate of Adam.
        batch_size: Images (or kernels) a step.
        max_epochs: Upper bound of epochs.
        steps_per_epoch: Steps between two validations; None: one pass over the training set. With a
            number, every training size gets the same count of steps and validations.
        weight_decay: L2 term of Adam; the paper has it for source networks alone.
        patience: Epochs without improvement of the validation loss before the rate falls.
        factor: By which the rate falls.
        threshold: Smallest absolute improvement that counts.
        stop_lr: Training ends when the rate has fallen to this.
        checkpoint_every: Epochs between checkpoints.
    """

    lr: float = Field(1e-3, gt=0)
    batch_size: int = Field(2, ge=1)
    max_epochs: int = Field(500, ge=1)
    steps_per_epoch: int | None = Field(None, ge=1)
    weight_decay: float = Field(0.0, ge=0)
    patience: int = Field(10, ge=0)
    factor: float = expert(0.1, gt=0, lt=1)
    threshold: float = expert(1e-4, ge=0)
    stop_lr: float = expert(1e-6, ge=0)
    checkpoint_every: int = unkeyed(1, expert=True, ge=1)

    def length(self, n_train: int) -> TrainingLength:
        """Of a training on so many images (or kernels)."""
        return TrainingLength(self.max_epochs, self.steps_per_epoch or math.ceil(n_train / self.batch_size))

    @model_validator(mode="after")
    def _takes_a_step(self) -> TrainConfig:
        if self.lr < SPENT * self.stop_lr:
            raise ValueError(
                f"lr {self.lr:g} is at the end of the schedule already (stop_lr {self.stop_lr:g})"
            )
        return self


def same_every_epoch(epoch: int) -> None:
    """An epoch begins like any other."""


class Learner(NamedTuple):
    """What a method gives to the loop.

    Attributes:
        state: Module with everything that training changes; checkpointed, its best epoch restored.
        param_groups: Adam's groups; a group without ``lr`` takes the config's.
        batch_loss: ``(indices (B,), step) -> terms``; ``terms["loss"]`` is minimised, the others are
            logged as ``train_<name>``.
        validate: Metrics of the current weights; must hold ``val_loss``.
        better: Whether new validation metrics beat the best ones so far.
        noise: Generator that ``batch_loss`` draws from, if any; saved with the checkpoint.
        begin_epoch: Called with the number of the epoch (from 1) before its first step, to say which
            parameters of ``param_groups`` require a gradient; Adam passes over the others: no step, no
            moments, no weight decay. It must depend on that number alone, since a training that goes on
            from a checkpoint calls it for the epochs to come only.
        upcoming: Called with ``(indices, step)`` of the next step before each ``batch_loss``, across the ends
            of epochs, so that its data can be made beforehand; None: not called. It is not called before
            the first step, and may name a step that is never taken, when the rate is spent.
        warm_up: Steps before the objective is the one that is meant. An epoch that ends by then is no
            candidate for the best one, and the plateau does not see it.
    """

    state: nn.Module
    param_groups: list[dict[str, Any]]
    batch_loss: Callable[[Tensor, int], dict[str, Tensor]]
    validate: Callable[[], dict[str, float]]
    better: Callable[[Mapping[str, float], Mapping[str, float]], bool]
    noise: torch.Generator | None = None
    begin_epoch: Callable[[int], None] = same_every_epoch
    upcoming: Callable[[Tensor, int], None] | None = None
    warm_up: int = 0


@dataclass(frozen=True)
class FitResult:
    """How a training ended.

    Attributes:
        best_epoch: Epoch (from 1) whose weights ``learner.state`` now holds.
        best: Its metrics.
        history: Metrics of every epoch.
        n_steps: Optimiser steps taken.
    """

    best_epoch: int
    best: dict[str, float]
    history: tuple[dict[str, float], ...]
    n_steps: int


def lower_val_loss(new: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Selection by the validation loss."""
    return new["val_loss"] < best["val_loss"]


def higher_val_dice(new: Mapping[str, float], best: Mapping[str, float]) -> bool:
    """Selection by the validation Dice; the loss decides between equals (early epochs often score 0)."""
    return (new["val_dice"], -new["val_loss"]) > (best["val_dice"], -best["val_loss"])


def fit(
    learner: Learner,
    config: TrainConfig,
    n_train: int,
    seed: int,
    checkpoint: Path,
    emit: Callable[[int, Mapping[str, float]], None],
) -> FitResult:
    """Train until the rate has fallen to its end or the epochs are over; continue from a checkpoint.

    Args:
        learner: What to train; afterwards ``learner.state`` holds the best validation epoch.
        config: The schedule.
        n_train: Size of the training set.
        seed: Of the batch order.
        checkpoint: File to write every ``checkpoint_every`` epochs and to continue from.
        emit: Called with (epoch, metrics) after every epoch; may raise `StopTrial`.

    Raises:
        ValueError: The warm-up is as long as the training.
        DivergedError: A loss was not finite.
        StopTrial: From ``emit``; a checkpoint of the last epoch is on disk.
    """
    if learner.warm_up >= config.length(n_train).n_steps:
        raise ValueError(f"no epoch would be a candidate: the warm-up takes {learner.warm_up} steps")
    training = _Training(learner, config, n_train, seed)
    resumed = training.resume(checkpoint)
    if resumed:
        emit(training.epoch, training.history[-1])
    while training.epoch < config.max_epochs and not training.rate_is_spent():
        metrics = training.one_epoch()
        saved = training.epoch % config.checkpoint_every == 0
        if saved:
            training.save(checkpoint)
        try:
            emit(training.epoch, metrics)
        except StopTrial:
            if not saved:
                training.save(checkpoint)
            raise
    learner.state.load_state_dict(training.best_state)
    return FitResult(
        training.best_epoch, training.history[training.best_epoch - 1], tuple(training.history), training.step
    )


class _Training:
    """State of one training between epochs: all that a checkpoint holds."""

    def __init__(self, learner: Learner, config: TrainConfig, n_train: int, seed: int) -> None:
        self.learner, self.config, self.n_train = learner, config, n_train
        # Fused: one pass over the weights, and no step counter is read back by the host.
        self.optimizer = torch.optim.Adam(
            learner.param_groups, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=config.factor, patience=config.patience, threshold=config.threshold,
            threshold_mode="abs",
        )  # fmt: skip
        self.order = named_generator(seed, "order")
        self.epoch = self.step = self.best_epoch = 0
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] = {}
        self.last_finite: dict[str, float] = {}

    def rate_is_spent(self) -> bool:
        return bool(self.optimizer.param_groups[0]["lr"] < SPENT * self.config.stop_lr)

    def one_epoch(self) -> dict[str, float]:
        self.learner.state.train()
        self.learner.begin_epoch(self.epoch + 1)
        batches = self._batches(self.order)
        terms = [self._train_step(*pair) for pair in zip(batches, self._following(batches), strict=True)]
        metrics = self._train_metrics(terms)
        self.learner.state.eval()
        metrics |= self.learner.validate()
        metrics["lr"] = float(self.optimizer.param_groups[0]["lr"])
        self._check_finite("val_loss", metrics["val_loss"], self.step)
        self.epoch += 1
        self.history.append(metrics)
        if self.step > self.learner.warm_up:
            self._judge(metrics)
        return metrics

    def _judge(self, metrics: dict[str, float]) -> None:
        self.plateau.step(metrics["val_loss"])
        if not self.best_epoch or self.learner.better(metrics, self.history[self.best_epoch - 1]):
            self.best_epoch = self.epoch
            self.best_state = {
                name: value.detach().clone() for name, value in self.learner.state.state_dict().items()
            }

    def save(self, path: Path) -> None:
        optimizer, rates = flatten_optimizer(self.optimizer)
        tensors = with_prefix("state", self.learner.state.state_dict()) | with_prefix("best", self.best_state)
        tensors |= with_prefix("optimizer", optimizer) | {"order": self.order.get_state()}
        if self.learner.noise is not None:
            tensors["noise"] = self.learner.noise.get_state()
        names = ("epoch", "step", "best_epoch", "history", "last_finite")
        plateau = {key: value for key, value in self.plateau.state_dict().items() if _is_plain(value)}
        state = {name: getattr(self, name) for name in names} | rates
        save_checkpoint(path, tensors, state | {"plateau": plateau, "noise_device": self._noise_device()})

    def resume(self, path: Path) -> bool:
        loaded = load_checkpoint(path)
        if loaded is None:
            return False
        tensors, state = loaded
        if self._noise_device() != state["noise_device"]:
            return False  # a generator's state means nothing on another kind of device: start over
        self.learner.state.load_state_dict(under_prefix("state", tensors))
        self.best_state = under_prefix("best", tensors)
        restore_optimizer(self.optimizer, under_prefix("optimizer", tensors), state)
        self.plateau.load_state_dict(state["plateau"])
        self.order.set_state(tensors["order"])
        if self.learner.noise is not None:
            self.learner.noise.set_state(tensors["noise"])
        self.epoch, self.step, self.best_epoch = state["epoch"], state["step"], state["best_epoch"]
        self.history = state["history"]
        self.last_finite = state.get("last_finite", {})
        return True

    def _noise_device(self) -> str | None:
        return self.learner.noise.device.type if self.learner.noise is not None else None

    def _following(self, batches: list[Tensor]) -> list[Tensor | None]:
        """What comes after each batch of an epoch that was just drawn; None where nothing does."""
        if self.learner.upcoming is None or self.epoch + 1 >= self.config.max_epochs:
            return [*batches[1:], None]
        # The next epoch's order is drawn from a copy: the generator itself stays where a checkpoint wants it.
        ahead = torch.Generator()
        ahead.set_state(self.order.get_state())
        return [*batches[1:], self._batches(ahead)[0]]

    def _batches(self, order: torch.Generator) -> list[Tensor]:
        size, steps = self.config.batch_size, self.config.steps_per_epoch
        if steps is None:
            return list(torch.randperm(self.n_train, generator=order).split(size))  # type: ignore[no-untyped-call]
        n_passes = math.ceil(steps * size / self.n_train)
        passes = [torch.randperm(self.n_train, generator=order) for _ in range(n_passes)]
        return list(torch.cat(passes)[: steps * size].split(size))  # type: ignore[no-untyped-call]

    def _train_step(self, indices: Tensor, following: Tensor | None) -> dict[str, Tensor]:
        if following is not None and self.learner.upcoming is not None:
            self.learner.upcoming(following, self.step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.learner.batch_loss(indices, self.step)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return {name: value.detach() for name, value in terms.items()}

    def _train_metrics(self, terms: list[dict[str, Tensor]]) -> dict[str, float]:
        # One transfer from the device an epoch: no host synchronisation between the steps.
        names = list(terms[0])
        values = torch.stack([torch.stack([term[name].float() for name in names]) for term in terms]).cpu()
        first_step = self.step - len(terms)
        for index, row in enumerate(values):
            for name, value in zip(names, row.tolist(), strict=True):
                self._check_finite(f"training {name}", value, first_step + index)
        means = values.double().mean(0).tolist()
        return {f"train_{name}": mean for name, mean in zip(names, means, strict=True)}

    def _check_finite(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):
            self.last_finite[name] = value
            return
        last = self.last_finite.get(name)
        before = "no value before was finite" if last is None else f"the last finite value was {last:.6g}"
        raise DivergedError(
            f"{name} became {value} in step {step} (epoch {self.epoch + 1}); {before}; "
            f"lower the learning rate (now {self.optimizer.param_groups[0]['lr']:g}) or look at the data"
        )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float | str | list)
