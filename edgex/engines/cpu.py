"""What this CPU is: the name and the vector features that decide which kernels a backend takes on it."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

FEATURES = (  # as Linux names them: those that int8, half precision and wide vectors hang on
    *("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16", "amx_fp16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16"),
)
X86 = ("x86_64", "amd64", "i386", "i686")


def is_x86() -> bool:
    """Tell whether this CPU is of Intel's or AMD's kind."""
    return platform.machine().lower() in X86


@cache
def describe() -> str:
    """Return the CPU's name and vector features, such as "Intel(R) N100, avx2 avx_vnni"."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux: the name has to do
        text = ""
    name = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    called = name[1].strip() if name else platform.processor() or platform.machine()
    return ", ".join(filter(None, (called, " ".join(feature for feature in FEATURES if feature in has))))
