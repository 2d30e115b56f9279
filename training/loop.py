"""The training loop, read from top to bottom: epochs, steps, validation, early stopping, checkpoints, resume.

It knows nothing of classifiers or masks: an `Objective` says what a step's loss is and what validation measures.
All chance (order, augmentation, dropout, draws) is a function of (seed, epoch, step), so a resumed run repeats an
uninterrupted one; N processes together see the global batch that one process sees.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from edgex.errors import EdgexError, UsageError
from training.batches import GlobalBatches, cpu_workers, ignore_interrupt
from training.checkpoint import load_checkpoint, save_checkpoint
from training.interrupt import Interrupt
from training.objective import Batch, Objective, Outcome, Progress
from training.processes import any_process, mean_of_terms, open_fabric, sum_of_rows
from training.synced_norm import synced
from training.training_log import TrainingLog
from training.transforms import TensorDataset

Schedule = Literal["constant", "cosine"]
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
RUNNING = 50  # steps over which the shown losses are averaged


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How long and how fast to train.

    Attributes
    ----------
    out : folder of `last.pt`, `best.pt` and the TensorBoard log
    epochs, batch : number of epochs; images a step, over all processes
    lr, body_lr : learning rates of what is new and of the pre-trained body (None: the same)
    weight_decay : 0 trains with Adam, more with AdamW
    schedule, warmup_steps : "constant" or "cosine" down to 1 % of the rate; steps of linear rise before it
    patience, min_delta : stop after so many epochs in which the validation loss fell by less than min_delta; 0 never
    clip : largest norm of the gradient; 0 leaves it alone
    seed : of everything random
    steps_per_epoch, limit : cut an epoch short; use only the first images of each split
    max_minutes : validate, save and stop when so much time has passed
    resume : go on from `last.pt` in `out`
    workers : processes that read images, or None for one a core, four at most
    device, precision : Lightning Fabric's accelerator and precision ("auto", "32-true", "bf16-mixed", "16-mixed")
    """

    out: Path
    epochs: int = 20
    batch: int = 16
    lr: float = 1e-4
    body_lr: float | None = None
    weight_decay: float = 0.0
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    patience: int = 5
    min_delta: float = 1e-3
    clip: float = 0.0
    seed: int = 42
    steps_per_epoch: int | None = None
    limit: int | None = None
    max_minutes: float | None = None
    resume: bool = False
    workers: int | None = None
    device: str = "auto"
    precision: str = "32-true"

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise UsageError(
                f"expected a schedule of {', '.join(get_args(Schedule))}, got {self.schedule!r}; choose one"
            )
        for name, known in (("device", DEVICES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                got = getattr(self, name)
                raise UsageError(f"expected a {name} of {', '.join(known)}, got {got!r}; set --{name}")
        for name in ("epochs", "batch", "steps_per_epoch", "limit", "lr", "max_minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"expected {name} above 0, got {value}; set --{name.replace('_', '-')}")
        for name in ("body_lr", "weight_decay", "warmup_steps", "patience", "min_delta", "clip", "workers"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"expected {name} of 0 or more, got {value}; set --{name.replace('_', '-')}")


@dataclass(slots=True)
class State:
    """Where training stands; all of it is in the checkpoint.

    Attributes
    ----------
    epoch, done : epochs that are complete; steps of the current one that are done
    step : steps in all
    best_loss : lowest validation loss
    stale : epochs since the validation loss last fell by `min_delta`
    """

    epoch: int = 0
    done: int = 0
    step: int = 0
    best_loss: float = math.inf
    stale: int = 0


def train(
    model: nn.Module,
    objective: Objective,
    train_set: TensorDataset,
    val_set: TensorDataset,
    description: Mapping[str, Any],
    options: LoopOptions,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Train `model` and keep `last.pt` and `best.pt`.

    Parameters
    ----------
    model : has an attribute `body`, whose learning rate may differ
    objective : loss and figures
    train_set, val_set : tensors of one size; neither may be empty
    description : what every checkpoint says besides weights (see `training.checkpoint.describe`)
    options : how long and how fast
    on_progress : called after each step and each validation, in the first process only

    Raises
    ------
    EdgexError
        If a split is empty, the loss is not finite, a checkpoint cannot be written or does not fit.
    """
    fabric = open_fabric(options.device, options.precision)
    last, best = options.out / "last.pt", options.out / "best.pt"
    count, val_count = (min(len(images), options.limit or len(images)) for images in (train_set, val_set))
    if val_count == 0:
        raise EdgexError("expected images in the split val, got none; add some or split again")
    batches = GlobalBatches(
        count, options.batch, options.seed, fabric.global_rank, fabric.world_size, options.steps_per_epoch
    )
    objective.prepare(fabric.device)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see `_to_device`
    if fabric.world_size > 1:
        model = synced(model, fabric.device)
    state, optimizer_state = _restore(last, description, model) if options.resume else _fresh(last)
    if state.done > batches.steps:
        raise UsageError(
            f"expected epochs of at least {state.done} steps, as {last} has done in this one, got {batches.steps}; "
            "resume with the data and --batch of the first run"
        )
    trained, optimizer = fabric.setup(model, _optimizer(model, options))
    _load_optimizer(optimizer, optimizer_state)

    workers = cpu_workers() if options.workers is None else options.workers
    steps_in_all, classes = options.epochs * batches.steps, len(description["labels"])
    started, first_step = time.monotonic(), state.step
    reason, figures, losses = "finished", dict[str, float](), list[float]()
    log = TrainingLog(options.out / "tensorboard" if fabric.is_global_zero else None, state.step)

    def tell(shown: Mapping[str, float], validated: bool, done: int) -> None:
        if on_progress is not None and fabric.is_global_zero:
            rate = (time.monotonic() - started) / max(1, state.step - first_step)
            left = None if validated else rate * (steps_in_all - state.step)
            on_progress(Progress(state.epoch + 1, options.epochs, done, batches.steps, dict(shown), validated, left))

    def save(path: Path) -> None:
        if fabric.is_global_zero:
            weights = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save_checkpoint(path, {**description, **weights, **{f.name: getattr(state, f.name) for f in fields(State)}})
        fabric.barrier()

    with Interrupt() as interrupt:
        while state.epoch < options.epochs and reason == "finished":
            train_set.set_epoch(state.epoch)
            objective.train_mode(trained)
            batches.start(state.epoch, state.done)
            shown: dict[str, float] = {}
            for batch in _reader(train_set, batches, workers):
                torch.manual_seed(options.seed * 1_000_003 + state.step)
                draw = torch.rand(batches.batch, classes)[fabric.global_rank :: fabric.world_size]
                _set_rates(optimizer, _rate_factor(state.step, steps_in_all, options))
                with fabric.autocast():
                    terms = objective.terms(trained, _to_device(fabric, batch), draw.to(fabric.device))
                fabric.backward(terms["loss"].mean())
                if options.clip > 0:
                    fabric.clip_gradients(trained, optimizer, max_norm=options.clip)
                optimizer.step()
                optimizer.zero_grad()

                state.step, state.done = state.step + 1, state.done + 1
                means = mean_of_terms(fabric, terms)
                if not math.isfinite(means["loss"]):
                    raise EdgexError(
                        f"expected a finite loss, got {means['loss']} at step {state.step}; "
                        f"lower --lr, or --resume from {last}"
                    )
                losses.append(means["loss"])
                log.scalars("train", means, state.step)
                share = 1 / min(state.step - first_step, RUNNING)
                shown = {name: (1 - share) * shown.get(name, value) + share * value for name, value in means.items()}
                tell(shown, False, state.done)
                if any_process(fabric, interrupt.asked):
                    reason = "interrupted"
                    break
                if any_process(fabric, time.monotonic() - started > 60 * (options.max_minutes or math.inf)):
                    reason = "time is up"
                    break

            if reason != "interrupted":
                figures = _validate(
                    fabric, model, objective, val_set, val_count, options.batch, workers, log, state.step
                )
                tell(figures, True, state.done)
                state.stale = 0 if figures["loss"] < state.best_loss - options.min_delta else state.stale + 1
                better = figures["loss"] < state.best_loss
                state.best_loss = min(state.best_loss, figures["loss"])
                if state.done == batches.steps:  # complete only once it is validated; a resume makes up for that
                    state.epoch, state.done = state.epoch + 1, 0
                if better:
                    save(best)
            save(last)
            if reason == "finished" and any_process(fabric, interrupt.asked):
                reason = "interrupted"
            elif reason == "finished" and 0 < options.patience <= state.stale:
                reason = "early stop"
    log.close()
    return Outcome(best if best.exists() else None, last, reason, state.epoch, state.step, figures, tuple(losses))


def _validate(
    fabric: Fabric,
    model: nn.Module,
    objective: Objective,
    images: TensorDataset,
    count: int,
    batch_size: int,
    workers: int,
    log: TrainingLog,
    step: int,
) -> dict[str, float]:
    """Measure every image once, each process its own; log the figures and a picture."""
    model.eval()  # the bare model: DDP's wrapper would wait for processes that have one batch less
    table = torch.zeros(count, len(objective.columns), dtype=torch.float64)
    own = list(range(fabric.global_rank, count, fabric.world_size))
    with torch.no_grad(), fabric.autocast():
        for number, batch in enumerate(
            _reader(images, [own[i : i + batch_size] for i in range(0, len(own), batch_size)], workers)
        ):
            batch = _to_device(fabric, batch)
            table[batch["index"].cpu()] = objective.measure(model, batch).double().cpu()
            if number == 0 and fabric.is_global_zero:
                log.picture("masks", objective.pictures(model, batch), step)
    figures = objective.summarise(sum_of_rows(fabric, table))
    log.scalars("val", figures, step)
    return figures


def _reader(images: TensorDataset, batches: GlobalBatches | Sequence[list[int]], workers: int) -> DataLoader[Batch]:
    return DataLoader(
        images,
        batch_sampler=batches,
        num_workers=workers,
        worker_init_fn=ignore_interrupt,
        pin_memory=torch.cuda.is_available(),
    )


def _to_device(fabric: Fabric, batch: Batch) -> Batch:
    """Move a batch; images become channels-last, with which depthwise convolutions run several times faster on CPUs."""
    moved: Batch = fabric.to_device(batch)
    return {**moved, "image": moved["image"].contiguous(memory_format=torch.channels_last)}


def _optimizer(model: nn.Module, options: LoopOptions) -> torch.optim.Optimizer:
    """Adam, or AdamW when weights decay; the pre-trained body may have its own rate."""
    body = {id(parameter) for parameter in model.get_submodule("body").parameters()}
    groups: list[dict[str, Any]] = []
    for inside, rate in ((False, options.lr), (True, options.lr if options.body_lr is None else options.body_lr)):
        chosen = [p for p in model.parameters() if p.requires_grad and (id(p) in body) == inside]
        if chosen:
            groups.append({"params": chosen, "lr": rate, "full_lr": rate})
    if options.weight_decay > 0:
        return torch.optim.AdamW(groups, weight_decay=options.weight_decay)
    return torch.optim.Adam(groups)


def _load_optimizer(optimizer: Any, saved: dict[str, Any] | None) -> None:
    """Load moments; rates stay those of the options, so that a resumed run may change them."""
    if saved is None:
        return
    rates = [group["full_lr"] for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(saved)
    except ValueError as error:
        raise UsageError(
            f"expected the trainable weights of the first run, got {error}; resume with its options"
        ) from error
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["full_lr"] = rate


def _fresh(last: Path) -> tuple[State, None]:
    if last.exists():
        raise UsageError(
            f"expected a new folder for --out, got {last.parent} with last.pt; add --resume or choose another"
        )
    return State(), None


def _restore(last: Path, description: Mapping[str, Any], model: nn.Module) -> tuple[State, dict[str, Any]]:
    """Fill the model from a checkpoint; return where its training stood and its optimiser's moments."""
    checkpoint = load_checkpoint(last, description["kind"])
    for key in ("architecture", "labels", "task", "input"):
        if checkpoint[key] != description[key]:
            raise UsageError(
                f"expected {last} to hold the {key} asked for, {description[key]}, got {checkpoint[key]}; "
                "resume with the options of the first run or choose another --out"
            )
    model.load_state_dict(checkpoint["model"])
    return State(**{f.name: checkpoint[f.name] for f in fields(State)}), checkpoint["optimizer"]


def _rate_factor(step: int, steps: int, options: LoopOptions) -> float:
    """Return what the learning rates are multiplied by at a step."""
    if step < options.warmup_steps:
        return (step + 1) / (options.warmup_steps + 1)
    if options.schedule == "constant":
        return 1.0
    share = min(1.0, (step - options.warmup_steps) / max(1, steps - options.warmup_steps))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


def _set_rates(optimizer: Any, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
