"""What `fuzz_kernels` writes to, and one call as a whole, which knows what may change in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from benchmarks.scenes import Subject

Random = np.random.Generator
PLAIN = 0.75  # share of arguments that are plain
GUARD = 0x5A  # the byte around an out that is part of a larger array
INPUTS = ("image", "mask_logits")


@dataclass
class Attempt:
    """One call of `entry` with `arguments` in order and, if it is not None, `out`.

    `around` is the array that `out` is part of, and `outside` is True where nothing of it may be written.
    """

    entry: str
    arguments: dict[str, Any]
    kinds: list[str]
    out: Any = None
    around: Any = None
    outside: Any = None

    def call(self, subject: Subject) -> Any:
        """Call the subject."""
        function = getattr(subject, self.entry)
        values = self.arguments.values()
        return function(*values) if self.out is None else function(*values, out=self.out)

    def snapshot(self) -> dict[str, Any]:
        """Return copies of the inputs, of `out` and of what is around it."""
        present = {name: self.arguments[name] for name in INPUTS if name in self.arguments}
        present |= {"out": self.out, "around": self.around}
        return {name: each.copy() if isinstance(each, np.ndarray) else each for name, each in present.items()}

    def unchanged(self, kept: Mapping[str, Any], refused: bool) -> bool:
        """Tell whether nothing but `out` was written to; nothing at all where the call was refused."""
        if self.around is not None and not np.array_equal(self.around[self.outside], kept["around"][self.outside]):
            return False
        now = {name: self.arguments.get(name) for name in INPUTS} | ({"out": self.out} if refused else {})
        arrays = {name: each for name, each in now.items() if isinstance(each, np.ndarray)}
        if not refused and isinstance(self.out, np.ndarray):
            arrays = {name: each for name, each in arrays.items() if not np.may_share_memory(each, self.out)}
        return all(each.tobytes() == kept[name].tobytes() for name, each in arrays.items())


def pick(random: Random, plain: Any, others: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the plain value and "", or one of the others and its name."""
    if random.random() < PLAIN:
        return plain, ""
    name = list(others)[random.integers(len(others))]
    return others[name], name


def draw_out(random: Random, attempt: Attempt) -> None:
    """Give the attempt memory to write to, half of the time."""
    if random.random() < 0.5:
        return
    image, spec = attempt.arguments["image"], attempt.arguments.get("spec")
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    if attempt.entry == "preprocess":
        shape, dtype = (1, 3, getattr(spec, "height", 2), getattr(spec, "width", 2)), np.dtype(np.float32)
    else:
        shape, dtype = getattr(image, "shape", ()), np.dtype(np.uint8)
        if len(shape) != 3 or 0 in shape:
            shape = (2, 2, 3)
    makers = MAKERS if attempt.entry == "compose" else {name: MAKERS[name] for name in OF_TENSORS}
    name = "out" if random.random() < 0.3 else list(makers)[random.integers(len(makers))]
    attempt.out = makers[name](attempt, shape, dtype)
    if attempt.out is not None:
        attempt.kinds.append(name)


def _fresh(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    return np.full(shape, GUARD, dtype)


def _within(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    inner = (*(slice(0, side) for side in shape[:-2]), slice(1, shape[-2] + 1), slice(0, shape[-1]))
    if attempt.entry == "compose":
        inner = (slice(2, shape[0] + 2), slice(1, shape[1] + 1), slice(None))
    sides = [side + (4 if attempt.entry == "preprocess" or place < 2 else 0) for place, side in enumerate(shape)]
    attempt.around = np.full(sides, GUARD, dtype)
    attempt.outside = np.ones(sides, bool)
    attempt.outside[inner] = False
    return attempt.around[inner]


def _in_place(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    return attempt.arguments["image"] if isinstance(attempt.arguments["image"], np.ndarray) else None


def _same_memory(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    image = _in_place(attempt, shape, dtype)
    return None if image is None else image[...]


def _flipped_over_image(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    image = _in_place(attempt, shape, dtype)
    return None if image is None or image.ndim == 0 else image[::-1]


def _beside_image(sides: Callable[[Any], Any], image: Any, out: Any) -> Callable[[Attempt, Any, Any], Any]:
    """Return a maker that lays image and out into one array of `sides(shape)`, at the two indices."""

    def make(attempt: Attempt, shape: Any, dtype: Any) -> Any:
        both = np.random.default_rng(0).integers(0, 256, sides(shape), dtype=np.uint8)
        attempt.arguments["image"] = both[image]
        return both[out]

    return make


def _two_halves(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    both = np.random.default_rng(0).integers(0, 256, (shape[0], 2 * shape[1], 3), dtype=np.uint8)
    attempt.arguments["image"] = both[:, : shape[1]]
    return both[:, shape[1] :]


def _over_logits(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    logits = attempt.arguments["mask_logits"]
    if not isinstance(logits, np.ndarray) or logits.dtype != np.float32 or logits.ndim != 3:
        return None
    size = int(np.prod(shape))
    both = np.zeros(max(size, logits.nbytes), np.uint8)
    shared = both[: logits.nbytes].view(np.float32).reshape(logits.shape)
    shared[:] = logits
    attempt.arguments["mask_logits"] = shared
    return both[:size].reshape(shape)


def _over_image(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    image, size = attempt.arguments["image"], int(np.prod(shape)) * dtype.itemsize
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        return None
    both = np.zeros(max(size, image.nbytes), np.uint8)
    shared = both[: image.nbytes].reshape(image.shape)
    shared[...] = image
    attempt.arguments["image"] = shared
    return both[:size].view(dtype).reshape(shape)


def _read_only(attempt: Attempt, shape: Any, dtype: Any) -> Any:
    out = np.zeros(shape, dtype)
    out.flags.writeable = False
    return out


MAKERS: dict[str, Callable[[Attempt, Any, Any], Any]] = {
    "out": _fresh,
    "out in a larger array": _within,
    "read-only out": _read_only,
    "out of another shape": lambda _, shape, dtype: np.zeros((*shape[:-2], shape[-2] + 1, shape[-1]), dtype),
    "out of more axes": lambda _, shape, dtype: np.zeros((1, *shape), dtype),
    "flat out": lambda _, shape, dtype: np.zeros(int(np.prod(shape)), dtype),
    "0-d out": lambda _, shape, dtype: np.zeros((), dtype),
    "out of float64": lambda _, shape, dtype: np.zeros(shape, np.float64),
    "out of int8": lambda _, shape, dtype: np.zeros(shape, np.int8),
    "out in Fortran order": lambda _, shape, dtype: np.zeros(shape, dtype, order="F"),
    "out upside down": lambda _, shape, dtype: np.zeros(shape, dtype)[..., ::-1, :],
    "list as out": lambda _, shape, dtype: np.zeros(shape, dtype).tolist(),
    "text as out": lambda *_: "out",
    "one row as out": lambda _, shape, dtype: as_strided(
        np.zeros(shape[1:], dtype), shape, (0, *np.zeros(shape[1:], dtype).strides)
    ),
    "out over the image": _over_image,
    "float16 out": lambda _, shape, dtype: np.zeros(shape, np.float16),
    "in place": _in_place,
    "in place, another view": _same_memory,
    "out is the image upside down": _flipped_over_image,
    "mirrored out": lambda _, shape, dtype: np.zeros(shape, dtype)[:, ::-1],
    "RGB view as out": lambda _, shape, dtype: np.zeros(shape, dtype)[:, :, ::-1],
    "pixels of out apart": lambda _, shape, dtype: np.zeros((shape[0], 2 * shape[1], 3), dtype)[:, ::2],
    "out a row below the image": _beside_image(lambda s: (s[0] + 1, s[1], 3), np.s_[:-1], np.s_[1:]),
    "out a row above the image": _beside_image(lambda s: (s[0] + 1, s[1], 3), np.s_[1:], np.s_[:-1]),
    "out a pixel beside the image": _beside_image(lambda s: (s[0], s[1] + 1, 3), np.s_[:, :-1], np.s_[:, 1:]),
    "out beside the image": _two_halves,
    "rows of out between the image's": _beside_image(lambda s: (2 * s[0], s[1], 3), np.s_[::2], np.s_[1::2]),
    "out over the logits": _over_logits,
}
OF_TENSORS = tuple(MAKERS)[: tuple(MAKERS).index("in place")]
