"""A report held against an earlier one, figure by figure: worse only beyond what was asked for and beyond the noise.

What cannot be judged is told as that, never as "same": a gate that nothing went through must not look like a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgex.report import BenchReport, Mode, Run
from edgex.report.noise import missed_share, noise_of_missed, noise_of_percentile, noise_of_rate
from edgex.report.parts import Slo

Figure = Literal["all", "p50", "p99", "per second", "missed", "highest rate"]
Verdict = Literal["better", "worse", "same", "unclear", "not comparable", "new"]
FAIL_ABOVE_PERCENT = 5.0  # a change below this is told as "same" where nothing else is asked for
LEAST_FOR_P99 = 1000  # samples in both reports: ten beyond the percentile
MISSED_POINTS = 1.0  # of 100 frames; what a search for the highest rate tolerates, too
SEARCHED_PERCENT = 2.0  # how closely the highest rate is searched for
_UNITS: dict[Figure, str] = {"p50": "ms", "p99": "ms", "per second": "1/s", "missed": "%", "highest rate": "fps"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of one run in both reports.

    Attributes
    ----------
    run, mode : of the run; both have to be the same in both reports
    figure : "all" where the run as a whole is in one report only
    unit : of old and new
    old, new : the figure, None where that report lacks it
    change_pct : how much worse it is now, below 0 how much better, in percent of the old figure; of "missed", which is
        itself in percent, in points. None where there is no old figure to hold it against
    noise_pct : how far the 95 % interval of the change reaches from it, in the same unit
    limit_pct : a change up to this is "same"
    verdict : "better" or "worse" beyond both the limit and the noise; "same" within the limit, with noise that does not
        exceed it; else "unclear". "not comparable" where the earlier report has something that this one cannot be held
        against, "new" where only this one has it
    why : one clause for what is not comparable, else ""
    """

    run: str
    mode: Mode
    figure: Figure
    unit: str
    old: float | None
    new: float | None
    change_pct: float | None
    noise_pct: float | None
    limit_pct: float
    verdict: Verdict
    why: str = ""


def compare(old: BenchReport, new: BenchReport, fail_above_pct: float = FAIL_ABOVE_PERCENT) -> list[Comparison]:
    """Hold every run of two reports against the one of the same name and mode, in the order of the new report.

    Parameters
    ----------
    old, new : reports
    fail_above_pct : changes up to this, in percent, are "same"

    Returns
    -------
    of each run in both: the median; the 99th percentile of 1000 samples or more; pictures per second, or of the paced
    mode the share of frames missed and the highest rate that holds. Of any other run one of the figure "all"
    """
    before = {(run.name, run.mode): run for run in old.runs}
    after = {(run.name, run.mode): run for run in new.runs}
    found: list[Comparison] = []
    for key in (*after, *(key for key in before if key not in after)):
        found += _held(before.get(key), after.get(key), fail_above_pct)
    return found


def is_judged(comparisons: Sequence[Comparison]) -> bool:
    """Tell whether all that the earlier report has was held against it, and there was anything at all."""
    verdicts = {each.verdict for each in comparisons}
    return "not comparable" not in verdicts and bool(verdicts - {"new"})


def _held(old: Run | None, new: Run | None, limit_pct: float) -> Iterator[Comparison]:
    known = new or old
    assert known is not None
    made = _Maker(known.name, known.mode, limit_pct)
    if old is None:
        yield made.none("all", "new")
    elif new is None:
        yield made.none("all", "not comparable", "this report has no such run")
    elif not old.samples_ms or not new.samples_ms:
        which = "this report" if old.samples_ms else "the earlier report"
        yield made.none("all", "not comparable", f"{which} has no sample of it")
    elif old.paced is not None and new.paced is not None and _pace(old) != _pace(new):
        yield made.none("all", "not comparable", f"frames were due at {_pace(old)} then, at {_pace(new)} now")
    else:
        yield from _figures(old, new, made)


def _pace(run: Run) -> str:
    return "" if run.paced is None else f"{run.paced.fps:g} a second, {run.paced.policy}"


def _figures(old: Run, new: Run, made: _Maker) -> Iterator[Comparison]:
    assert old.latency is not None
    assert new.latency is not None
    yield made.time("p50", old.latency.p50_ms, new.latency.p50_ms, noise_of_percentile(old, new, 50))
    if min(old.latency.count, new.latency.count) >= LEAST_FOR_P99:
        yield made.time("p99", old.latency.p99_ms, new.latency.p99_ms, noise_of_percentile(old, new, 99))
    if old.mode != "paced":
        yield made.rate(old.per_second, new.per_second, noise_of_rate(old, new))
    elif old.paced is not None and new.paced is not None:
        if (then := old.paced.deadline_ms) != (now := new.paced.deadline_ms):
            yield made.none("missed", "not comparable", f"frames were late beyond {then:g} ms then, {now:g} ms now")
        elif old.paced.due and new.paced.due:
            then, now = (missed_share(each) * 100 for each in (old.paced, new.paced))
            yield made.missed(then, now, noise_of_missed(old, new) * 100)
        yield from made.highest(old.paced.slo, new.paced.slo)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the comparisons of one run."""

    run: str
    mode: Mode
    limit_pct: float

    def none(self, figure: Figure, verdict: Verdict, why: str = "") -> Comparison:
        unit = _UNITS.get(figure, "")
        return Comparison(self.run, self.mode, figure, unit, None, None, None, None, self.limit_pct, verdict, why)

    def time(self, figure: Figure, old: float, new: float, noise: float) -> Comparison:
        change = (new / old - 1) * 100 if old else None
        return self._judged(figure, old, new, change, noise * 100, self.limit_pct)

    def rate(self, old: float, new: float, noise: float) -> Comparison:
        change = (1 - new / old) * 100 if old else None
        return self._judged("per second", old, new, change, noise * 100, self.limit_pct)

    def missed(self, old: float, new: float, noise: float) -> Comparison:
        return self._judged("missed", old, new, new - old, noise, min(self.limit_pct, MISSED_POINTS))

    def highest(self, old: Slo | None, new: Slo | None) -> Iterator[Comparison]:
        """Give what became of the highest rate; a search that found none counts as 0."""
        if old is None:
            if new is not None:
                yield self.none("highest rate", "new")
        elif new is None:
            yield self.none("highest rate", "not comparable", "this report did not search for it")
        elif "not ended" in (old.outcome, new.outcome):
            which = "this report" if new.outcome == "not ended" else "the earlier report"
            yield self.none("highest rate", "not comparable", f"the search of {which} did not end")
        elif old.limit_ms != new.limit_ms:
            why = f"it was searched within {old.limit_ms:g} ms then, {new.limit_ms:g} ms now"
            yield self.none("highest rate", "not comparable", why)
        else:
            then, now = old.highest_fps or 0.0, new.highest_fps or 0.0
            change = (1 - now / then) * 100 if then else None if now else 0.0
            limit = max(self.limit_pct, SEARCHED_PERCENT)
            yield self._judged("highest rate", then, now, change, SEARCHED_PERCENT, limit)

    def _judged(
        self, figure: Figure, old: float, new: float, change: float | None, noise: float, limit: float
    ) -> Comparison:
        if change is None:  # from 0: times are then worse, rates better
            verdict: Verdict = "same" if new == old else "worse" if _UNITS[figure] == "ms" else "better"
        elif abs(change) > max(limit, noise):
            verdict = "worse" if change > 0 else "better"
        else:
            verdict = "unclear" if noise > limit else "same"
        rounded = None if change is None else round(change, 2)
        return Comparison(
            self.run, self.mode, figure, _UNITS[figure], old, new, rounded, round(noise, 2), limit, verdict
        )
