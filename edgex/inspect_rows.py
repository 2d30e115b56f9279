"""An Inspection as a table for people: what `edgex inspect` prints without --json."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgex.build_manifest import BuildManifest
from edgex.manifest import METADATA_KEY, Manifest
from edgex.onnx_file import OnnxFile

if TYPE_CHECKING:
    from edgex.inspect import Inspection

_MIB = 2**20


def rows(found: Inspection) -> list[tuple[str, str]]:
    """Return name and text of what a file has, in the order in which it is shown.

    Names are short, so that a hash beside them fits into 80 columns.
    """
    table = [
        ("path", str(found.path)),
        ("kind", found.kind),
        ("plan", found.plan),
        ("size", f"{found.size_bytes} bytes ({found.size_bytes / _MIB:.1f} MiB)"),
        ("sha256", found.sha256),
        *([] if found.built is None else _built(found.built, bool(found.untouched))),
        ("inputs", "\n".join(map(str, found.inputs))),
        ("outputs", "\n".join(map(str, found.outputs))),
        ("layers", _counts(found.layers)),
        *([] if found.file is None else _onnx(found.file)),
        *([] if found.manifest is None else _manifest(found.manifest)),
        ("edgex run", "\n".join(found.missing)),
        ("runs on", ", ".join(found.runs_on) or "no backend of this machine"),
        ("not on", "\n".join(f"{backend}: {reason}" for backend, reason in found.reasons.items())),
    ]
    return [(name, text) for name, text in table if text]


def _built(built: BuildManifest, untouched: bool) -> list[tuple[str, str]]:
    kept = ", ".join(f"{node.name} ({node.kind}, {_plain(node.effect)})" for node in built.kept)
    return [
        ("untouched", "yes" if untouched else "NO: the bytes are not those that its sidecar speaks of"),
        ("built for", f"{built.backend} {built.backend_version} on {built.device}"),
        ("precision", built.precision),
        ("achieved", _counts(built.achieved)),
        ("kept back", kept),
        ("source", f"{built.source}\n{built.source_sha256}"),
        ("calibration", built.calibration_sha256 or "none"),
        ("fidelity", "not compared" if built.fidelity is None else _plain(_figures(built.fidelity))),
        ("latency", ", ".join(f"{name} {_plain(ms)} ms" for name, ms in built.latency_ms.items())),
        ("options", _plain(built.options)),
        ("warnings", "\n".join(map(str, built.warnings))),
    ]


def _onnx(file: OnnxFile) -> list[tuple[str, str]]:
    opset = ", ".join(f"{domain or 'onnx'} {version}" for domain, version in file.opset.items())
    metadata = {key: text for key, text in file.metadata.items() if key != METADATA_KEY}
    return [
        ("operators", _plain(file.operators)),
        ("weights", _plain(file.weights)),
        ("weight files", ", ".join(file.external)),
        ("format", f"IR {file.ir_version}, opset {opset}" + f", by {file.producer}" * bool(file.producer)),
        ("metadata", _plain(metadata)),
    ]


def _manifest(manifest: Manifest) -> list[tuple[str, str]]:
    spec = manifest.input
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (spec.mean, spec.std))
    return [
        ("labels", ", ".join(manifest.labels)),
        ("task", manifest.task),
        ("picture", f"{spec.height} x {spec.width} {spec.color}, mean {mean}, std {std}, resized by {spec.resize}"),
        ("explanandum", manifest.explanandum or ""),
        ("explainer", manifest.explainer or ""),
        ("trained on", manifest.training_data or ""),
        ("evaluation", f"{len(manifest.evaluation)} figures, which --json shows" if manifest.evaluation else ""),
        ("frames", manifest.calibration or ""),
        ("licence", manifest.licence or ""),
    ]


def _counts(kinds: Mapping[str, Any]) -> str:
    """Return "Conv int8 108 fp32 2, Add fp32 23"; what a sidecar holds there may be anything."""
    pairs = [(kind, counts if isinstance(counts, Mapping) else {"": counts}) for kind, counts in kinds.items()]
    return ", ".join(
        f"{kind} {' '.join(f'{name} {n}'.strip() for name, n in counts.items())}" for kind, counts in pairs
    )


def _plain(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(_plain(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figures(fidelity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures over all frames; single frames and outputs are for --json."""
    return {name: value for name, value in fidelity.items() if name not in ("worst", "outputs") and value is not None}
