"""The composite kernel beside torch eager, torch.compile and CuPy, in the same rounds, on sets beyond the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.gpu.kernels_cases import Case, Launches
from benchmarks.gpu.kernels_peers import CupyPeer, OtherPictureError, TorchPeer
from benchmarks.gpu.kernels_timing import Arena, Stopwatch, each_in_turn, interleaved, quartiles, rotated
from benchmarks.gpu.steps import Context, Missing
from edgex import cuda
from edgex.errors import EdgexError

FULL_HD, OTHERS = (1080, 1920), ((720, 1280), (2160, 3840))
CASES = tuple(Case("overlay", *each) for each in product((1, 3, 20), (1080,), (1920,), (1, 16)))
MORE = tuple(Case("overlay", count, *size, batch) for count, size, batch in product((1, 3, 20), OTHERS, (1, 16)))
SMALL = Case("overlay", 3, 288, 512, 2)
MOST_CALLS = 40  # of a batch: a call of torch or CuPy is a dozen launches, and the driver queues about 1000
MOST_ROUNDS = 8
Peer = TorchPeer | CupyPeer


def measure(context: Context, gpu: cuda.Device, arena: Arena, watch: Stopwatch, found: dict[str, Any]) -> None:
    """Check and time each peer that is there, and save after each; absent ones are told. They share the time."""
    # torch.compile takes some seconds for each shape, and so only those that the aims are about.
    makers: dict[str, tuple[Callable[[], Peer], Sequence[Case], float]] = {
        "torch eager": (lambda: TorchPeer(False), (*CASES, *MORE), 4.0),
        "CuPy": (CupyPeer, (*CASES, *MORE), 4.0),
        "torch.compile": (lambda: TorchPeer(True), CASES, 20.0),
    }
    for number, (name, (make, cases, longest_s)) in enumerate(makers.items()):
        until = time.monotonic() + context.left_s() / (len(makers) - number)
        rows: list[dict[str, Any]] = []
        found["peers"][name] = rows
        try:
            peer = make()
            peer.check(SMALL)
            for case in cases:
                began = time.monotonic()
                if began + longest_s > until:  # one that is begun and not ended costs the whole step
                    raise Missing(f"no time was left after {len(rows)} of {len(cases)} cases")
                rows.append(_row(gpu, arena, watch, peer, case, min(context.rounds, MOST_ROUNDS), found["l2_bytes"]))
                what = f"{name}, {case.name} {case.height} rows, batch {case.batch}"
                context.say(f"{what}: {rows[-1]['times_ours'][1]:.1f} times ours")
                context.save(found)
                longest_s = max(1.5 * (time.monotonic() - began), 0.5 * longest_s)
        except OtherPictureError as error:
            found["failures"].append(str(error))
        except EdgexError:  # the GPU is lost for this process
            raise
        except Exception as error:  # what a peer raises has no bounds: no memory, no compiler, another version
            found["missing"][name] = (
                str(error) if isinstance(error, Missing) else f"{type(error).__name__}: {error}"[:500]
            )
        context.save(found)


def _row(
    gpu: cuda.Device, arena: Arena, watch: Stopwatch, peer: Peer, case: Case, rounds: int, cache: int
) -> dict[str, Any]:
    """Time one case of a peer and of the kernel; times are of one frame, and the ratio is that of the like."""
    arena.clear()
    slots, name = rotated(sum(case.sizes()), cache), type(peer).__name__
    kernel = Launches(gpu, arena, case, slots)
    theirs, capture = peer.works(case, slots, watch.stream)
    own, other = each_in_turn(kernel.works), each_in_turn(theirs)
    works = {
        "kernel": (own, watch.times("events", own), case.batch),
        "peer": (other, watch.times(f"{name} {case.count}", other, MOST_CALLS), case.batch),
    }
    graph, captured = watch.graph(kernel.works, min(64, works["kernel"][1])), capture()
    if graph is not None and captured is not None:
        works["kernel graph"] = (graph[0], watch.times("graph", graph[0]), case.batch * graph[1])
        works["peer graph"] = (captured, watch.times(f"{name} graph", captured, MOST_CALLS), case.batch * slots)
    us = interleaved(watch, works, rounds)
    by = "graph" if "peer graph" in us else "events"
    ratio = us["peer graph"] / us["kernel graph"] if by == "graph" else us["peer"] / us["kernel"]
    as_called = float(np.median(us["peer"] / us["kernel"]))
    captured = graph = None
    del theirs, other, works, capture
    peer.free()
    return {
        **{"case": case.name, "classes": case.count, "picture": [case.height, case.width], "batch": case.batch},
        **{"us_quartiles": {key: quartiles(each) for key, each in us.items()}, "by": by},
        **{"times_ours": quartiles(ratio), "times_ours_as_called": float(f"{as_called:.4g}")},
    }
