"""Draws what `fuzz_kernels` calls with: arguments of every kind that a caller may get right or wrong.

`draw_attempt` draws one call; the kinds of its arguments that are not plain go into the summary.
Arguments that write, and their overlaps with those that are read, come from `fuzz_outputs`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from benchmarks.fuzz_outputs import Attempt, Random, draw_out, pick
from edgex.errors import EdgexError
from edgex.manifest import InputSpec
from edgex.types import STYLES, Drawing

SIDES = (1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 40, 63, 64, 65, 97)

UNTYPED = frozenset(("no drawing", "no spec", "spec of numbers", "spec of text"))  # not one of edgex's own types


def draw_attempt(random: Random, entries_with_out: Collection[str]) -> Attempt | None:
    """Draw one call; None where Drawing or InputSpec refuses what was drawn for it."""
    entry = ("compose", "compose", "masks", "preprocess")[random.integers(4)]
    image, kind = draw_image(random)
    kinds = [] if entry == "masks" else [kind]
    try:
        if entry == "preprocess":
            spec, kind = draw_spec(random)
            attempt = Attempt(entry, {"image": image, "spec": spec}, [*kinds, kind])
        else:
            logits, kind = draw_logits(random)
            kinds.append(kind)
            classes, kind = draw_classes(random, len(logits) if np.ndim(logits) else 1)
            kinds.append(kind)
            if entry == "masks":
                sides, kind = draw_sides(random)
                arguments = {"mask_logits": logits, "classes": classes, "height": sides[0], "width": sides[1]}
            else:
                drawing, kind = draw_drawing(random, classes)
                arguments = {"image": image, "mask_logits": logits, "drawing": drawing}
            attempt = Attempt(entry, arguments, [*kinds, kind])
    except (EdgexError, TypeError, ValueError, OverflowError):  # what the constructors refuse, their own tests hold
        return None
    if entry in entries_with_out:
        draw_out(random, attempt)
    attempt.kinds = [kind for kind in attempt.kinds if kind] or ["plain"]
    return attempt


def draw_image(random: Random) -> tuple[Any, str]:
    """Draw a picture, mostly plain."""
    height, width = (int(side) for side in random.choice(SIDES, 2))
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    wide = random.integers(0, 256, (2 * height, 2 * width, 4), dtype=np.uint8)
    read_only = image.copy()
    read_only.flags.writeable = False
    return pick(
        random,
        image,
        {
            "pixels of four": wide[:height, 1 : width + 1, :3],
            "part of a picture": random.integers(0, 256, (height + 4, width + 6, 3), dtype=np.uint8)[2:-2, 3:-3],
            "pixels apart": wide[::2, ::2, :3],
            "upside down": image[::-1],
            "mirrored": image[:, ::-1],
            "RGB view": image[:, :, ::-1],
            "Fortran order": np.asfortranarray(image),
            "turned": image.transpose(1, 0, 2),
            "one row for all": np.broadcast_to(image[:1], image.shape),
            "read-only": read_only,
            "float image": image.astype(np.float32),
            "int8 image": image.view(np.int8),
            "bool image": image > 127,
            "object image": image.astype(object),
            "grey image": image[:, :, 0],
            "BGRA image": wide,
            "planes image": np.ascontiguousarray(image.transpose(2, 0, 1)),
            "batch image": image[None],
            "empty image": image[:0] if random.integers(2) else image[:, :0],
            "0-d image": np.uint8(3) if random.integers(2) else np.array(3, np.uint8),
            "list image": image.tolist(),
            "bytes image": image.tobytes(),
            "no image": None,
        },
    )


def draw_logits(random: Random) -> tuple[Any, str]:
    """Draw mask logits, mostly plain."""
    count, rows, columns = (
        int(random.choice(choice)) for choice in ((1, 2, 3, 5, 20), (1, 2, 7, 28), (1, 2, 7, 28, 50))
    )
    logits = random.normal(0, 4, (count, rows, columns)).astype(np.float32)
    broken = logits.copy()
    broken[random.random(logits.shape) < 0.2] = random.choice([np.nan, np.inf, -np.inf])
    huge = np.where(random.random(logits.shape) < 0.5, np.float32(3e38), np.float32(-3e38)).astype(np.float32)
    wide = random.normal(0, 4, (2 * count, rows + 2, 2 * columns)).astype(np.float32)
    bytes_ = np.zeros(logits.nbytes + 1, np.uint8)
    unaligned = bytes_[1:].view(np.float32).reshape(logits.shape)
    unaligned[:] = logits
    return pick(
        random,
        logits,
        {
            "logits that are not finite": broken,
            "huge logits": huge,
            "tiny logits": logits * np.float32(1e-41),
            "equal logits": np.zeros_like(logits),
            "logits apart": wide[::2, 1:-1, ::2],
            "logits backwards": logits[::-1, ::-1, ::-1],
            "logits in Fortran order": np.asfortranarray(logits),
            "one logit for all": np.broadcast_to(logits[:1, :1, :1], logits.shape),
            "unaligned logits": unaligned,
            "big-endian logits": logits.astype(">f4"),
            "float16 logits": logits.astype(np.float16),
            "float64 logits": logits.astype(np.float64),
            "integer logits": logits.astype(np.int32),
            "complex logits": logits.astype(np.complex64),
            "object logits": logits.astype(object),
            "2-d logits": logits[0],
            "4-d logits": logits[None],
            "empty logits": logits[:, :0] if random.integers(2) else logits[:0],
            "0-d logits": np.array(1.0, np.float32),
            "list logits": logits.tolist(),
            "no logits": None,
        },
    )


def draw_classes(random: Random, count: int) -> tuple[Any, str]:
    """Draw shown classes of `count`, mostly right."""
    shown = tuple(int(index) for index in random.permutation(count)[: random.integers(1, count + 1)]) if count else (0,)
    return pick(
        random,
        shown,
        {
            "a class twice": (*shown, shown[0]),
            "NumPy classes": tuple(np.int64(index) for index in shown),
            "list of classes": list(shown),
            "array of classes": np.array(shown),
            "class too large": (*shown, count),
            "class far too large": (1 << 40, *shown),
            "class of 2 to the 32": (1 << 32,),
            "negative class": (*shown, -1),
            "broken class": (0.5,),
            "class not a number": (float("nan"),),
            "text class": ("0",),
            "no class": (),
            "classes None": None,
        },
    )


def draw_drawing(random: Random, classes: Any) -> tuple[Any, str]:
    """Draw what to draw, mostly right."""
    colors = tuple(tuple(int(level) for level in row) for row in random.integers(0, 256, (len(classes), 3)))
    style, opacity = STYLES[random.integers(len(STYLES))], float(random.choice([0.0, 1.0, 0.6, random.random()]))
    (colors_, opacity_, fill), kind = pick(
        random,
        (colors, opacity, tuple(int(level) for level in random.integers(0, 256, 3))),
        {
            "color too light": (((300, 0, 0), *colors[1:]), opacity, (104, 116, 124)),
            "color too dark": (((0, -5, 0), *colors[1:]), opacity, (104, 116, 124)),
            "color far off": (((1 << 40, 0, 0), *colors[1:]), opacity, (104, 116, 124)),
            "color of two": (((1, 2), *colors[1:]), opacity, (104, 116, 124)),
            "color in fractions": (((0.5, 1.5, 2.5), *colors[1:]), opacity, (104, 116, 124)),
            "fill too light": (colors, opacity, (256, 0, 0)),
            "fill of one": (colors, opacity, (3,)),
            "opacity too large": (colors, 1.5, (0, 0, 0)),
            "opacity not a number": (colors, float("nan"), (0, 0, 0)),
            "NumPy opacity": (colors, np.float32(opacity), (0, 0, 0)),
            "text opacity": (colors, "0.5", (0, 0, 0)),
        },
    )
    if random.integers(40) == 0:
        return None, "no drawing"
    return Drawing(classes, colors_, style, opacity_, fill), f"{style} {kind}".strip()


def draw_spec(random: Random) -> tuple[Any, str]:
    """Draw the network's input, mostly right."""
    height, width = (int(side) for side in random.choice(SIDES, 2))
    mean, std = tuple(random.uniform(0, 1, 3).tolist()), tuple(random.uniform(0.1, 1, 3).tolist())
    spec = InputSpec(height, width, mean, std, ("RGB", "BGR")[random.integers(2)])
    return pick(random, spec, {"no spec": None, "spec of numbers": (height, width), "spec of text": "224"})


def draw_sides(random: Random) -> tuple[Any, str]:
    """Draw height and width of plain masks, mostly right."""
    height, width = (int(side) for side in random.choice(SIDES, 2))
    return pick(
        random,
        (height, width),
        {
            "NumPy sides": (np.int32(height), np.int64(width)),
            "no rows": (0, width),
            "no columns": (height, 0),
            "negative height": (-height, width),
            "negative width": (height, -1),
            "sides of 2 to the 31": ((1 << 31) - 1, (1 << 31) - 1),
            "sides of 2 to the 62": (1 << 62, 1 << 62),
            "height in fractions": (height + 0.5, width),
            "width not a number": (height, float("nan")),
            "height None": (None, width),
            "text width": (height, "64"),
        },
    )
