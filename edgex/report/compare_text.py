"""What was held against an earlier report, in words: a row for each figure, and sentences for what no gate may hide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from edgex.report.compare import Comparison
from edgex.report.shown import noise, shown, signed

HEADINGS = ("figure", "before", "now", "worse by %", "noise ± %", "verdict")
RULES = (
    "worse by: how much worse it is now, in percent of before; of missed frames in points",
    "noise: how far the 95 % interval of the change reaches, by bootstrap over the rounds of both reports; of the "
    "highest rate, how closely it is searched for",
    "worse or better: beyond both the limit and the noise; same: within the limit, and so is the noise; unclear: "
    "within the noise, and that exceeds the limit",
)


def comparison_table(
    comparisons: Sequence[Comparison], names: Mapping[str, str] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and one row for each figure that was held against the baseline.

    Parameters
    ----------
    comparisons : of `compare`
    names : what stands for the name of a run, where that is too long
    """
    return ("run", *HEADINGS), [((names or {}).get(each.run, each.run), *cells(each)) for each in comparisons]


def cells(each: Comparison) -> tuple[str, ...]:
    """Return what stands in a row behind the run's name."""
    figure = each.figure if each.unit in ("", "1/s") else f"{each.figure}, {each.unit}"
    return (figure, shown(each.old), shown(each.new), signed(each.change_pct), noise(each.noise_pct), each.verdict)


def comparison_warnings(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """Return one sentence for each run or figure that was not judged, and what to do."""
    return tuple(_warnings(comparisons))


def _warnings(comparisons: Sequence[Comparison]) -> Iterator[str]:
    for each in comparisons:
        if each.verdict == "not comparable":
            figure = "" if each.figure == "all" else f", {each.figure}"
            yield f"{each.run} ({each.mode}{figure}) was not held against it: {each.why}"
    for run, mode in dict.fromkeys((each.run, each.mode) for each in comparisons if each.verdict == "unclear"):
        unclear = [each for each in comparisons if (each.run, each.mode, each.verdict) == (run, mode, "unclear")]
        told = ", ".join(f"{each.figure} (noise {shown(each.noise_pct)}, limit {each.limit_pct:g})" for each in unclear)
        yield f"{run} ({mode}): unclear {told}; measure both longer (--seconds) on a quiet machine, or allow more"
    fresh = [f"{each.run} ({each.mode})" for each in comparisons if each.verdict == "new" and each.figure == "all"]
    if fresh:
        yield f"only this report has {', '.join(fresh)}"
    if not {each.verdict for each in comparisons} - {"new", "not comparable"}:
        yield "nothing was held against it; take a report of the same models, backends and mode"
