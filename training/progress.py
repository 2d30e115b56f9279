"""What long work shows on the terminal: a bar with losses and time left; training also plain lines into a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training.objective import Progress as Step

LINE_EVERY = 50  # steps between two plain lines


class TrainingDisplay:
    """A context that takes the loop's reports: `train(..., on_progress=display)`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[figures]}  {task.fields[left]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TrainingDisplay:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, step: Step) -> None:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in step.figures.items())
        left = "" if step.seconds_left is None else f"{_clock(step.seconds_left)} left"
        if step.validated:
            self._console.print(
                f"epoch {step.epoch}/{step.epochs}  validation  {figures}", highlight=False, soft_wrap=True
            )
        elif not self._console.is_terminal:
            if step.step % LINE_EVERY == 0:
                text = f"epoch {step.epoch}/{step.epochs}  step {step.step}/{step.steps}  {figures}  {left}"
                self._console.print(text, highlight=False, soft_wrap=True)
        else:
            shown = {"epoch": f"{step.epoch}/{step.epochs}", "figures": figures, "left": left}
            if self._task is None:
                self._task = self._bar.add_task("", total=step.steps, **shown)  # type: ignore[arg-type]
            self._bar.update(self._task, completed=step.step, total=step.steps, **shown)  # type: ignore[arg-type]


@contextmanager
def counting(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar per stage of other long work; it takes reports of (stage, done, total)."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console
    )
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=total)
        bar.update(tasks[stage], completed=done, total=total)

    with bar:
        yield report


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
