"""Figures for Prometheus: every frame is counted, also those that no viewer saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from edgex.optional import require
from edgex.types import SourceState

_AGES_S = (0.01, 0.02, 0.03, 0.04, 0.05, 0.08, 0.12, 0.2, 0.5, 1.0, 2.0, 5.0)
_STAGES_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0)


class Metrics:
    """Counts frames from their records; the names are those of the page docs/live.md.

    Parameters
    ----------
    source_state : how the source stands
    viewers : how many picture streams are open

    Attributes
    ----------
    late : finished frames older than the deadline
    """

    def __init__(self, source_state: Callable[[], SourceState], viewers: Callable[[], int]) -> None:
        self.late = 0
        prometheus = require("prometheus_client")
        self._registry = prometheus.CollectorRegistry(auto_describe=True)
        self._text = prometheus.generate_latest
        self.content_type: str = prometheus.CONTENT_TYPE_LATEST

        def made(kind: Any, name: str, words: str, **options: Any) -> Any:
            return kind(f"edgex_{name}", words, registry=self._registry, **options)

        self._frames = made(prometheus.Counter, "frames", "Frames that were finished.")
        self._late = made(prometheus.Counter, "frames_late", "Finished frames older than the deadline.")
        self._age = made(prometheus.Histogram, "frame_age_seconds", "From arrival to the sinks.", buckets=_AGES_S)
        self._stage = made(
            prometheus.Histogram, "stage_seconds", "Time per stage.", labelnames=["stage"], buckets=_STAGES_S
        )
        self._kept = made(prometheus.Gauge, "faithfulness_kept", "Share of the class score that the mask keeps.")
        self._lost = made(prometheus.Gauge, "faithfulness_lost", "Share of the class score that its complement loses.")
        self._flicker = made(prometheus.Gauge, "flicker", "Mean change of the masks where nothing moves.")
        made(prometheus.Gauge, "viewers", "Open picture streams.").set_function(viewers)
        self._registry.register(_SourceFigures(source_state))

    def count(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Count finished frames."""
        for record in records:
            self._frames.inc()
            if record.get("late"):
                self.late += 1
                self._late.inc()
            if (age_ms := record.get("age_ms")) is not None:
                self._age.observe(age_ms / 1e3)
            for stage, ms in record.get("ms", {}).items():
                self._stage.labels(stage).observe(ms / 1e3)
            if monitor := record.get("monitor"):
                self._kept.set(monitor["kept"])
                self._lost.set(monitor["lost"])
            if (flicker := record.get("flicker")) is not None:
                self._flicker.set(flicker)

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them."""
        return bytes(self._text(self._registry))


class _SourceFigures:
    """Figures that the source itself counts, read when somebody asks."""

    def __init__(self, source_state: Callable[[], SourceState]) -> None:
        self._source_state = source_state
        self._core = require("prometheus_client.core")

    def collect(self) -> Iterator[Any]:
        state, counter = self._source_state(), self._core.CounterMetricFamily
        connected = "Whether pictures come: 1 or 0."
        yield self._core.GaugeMetricFamily("edgex_source_connected", connected, value=int(state.connected))
        yield counter("edgex_frames_dropped", "Frames that a newer one replaced.", value=state.dropped)
        yield counter("edgex_source_reconnects", "Times the source was opened again.", value=state.reconnects)
