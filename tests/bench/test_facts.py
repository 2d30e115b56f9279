"""What is known of a model by its files: the hash of an engine, whatever files it is in, and whether they change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from edgex.bench import BenchOptions, bench
from edgex.bench.facts import read_facts
from edgex.errors import ModelError
from tests.bench.test_bench import QUICK
from tests.bundles import write_bundle


def write_external(path: Path) -> tuple[Path, Path]:
    """Write a bundle whose weights lie beside it; return both files."""
    model = onnx.load(write_bundle(path))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path, path.parent / "weights.bin"


def test_a_model_in_one_file_has_that_file_s_hash(bundle: Path) -> None:
    facts = read_facts(bundle, None)
    assert facts.sha256 == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert facts.precision == "fp32"
    assert facts.changed == ""


def test_other_weights_beside_the_same_file_are_another_engine(tmp_path: Path) -> None:
    model, weights = write_external(tmp_path / "model.onnx")
    facts = read_facts(model, None)
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in (model, weights)]
    assert facts.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    before = weights.read_bytes()
    weights.write_bytes(bytes([before[0] ^ 1]) + before[1:])
    assert facts.changed == "weights.bin"
    assert read_facts(model, None).sha256 != facts.sha256


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum of coreutils")
def test_whoever_has_the_files_can_check_the_hash(tmp_path: Path) -> None:
    model, weights = write_external(tmp_path / "model.onnx")
    printed = subprocess.run(
        ["sha256sum", model.name, weights.name], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    assert read_facts(model, None).sha256 == hashlib.sha256(printed).hexdigest()


def test_a_file_that_was_replaced_by_one_of_the_same_length_is_seen(bundle: Path, tmp_path: Path) -> None:
    facts = read_facts(bundle, None)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(bundle.read_bytes())
    copy.replace(bundle)
    assert facts.changed == bundle.name
    bundle.unlink()
    assert facts.changed == bundle.name


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        read_facts(tmp_path / "gone.onnx", None)


@pytest.mark.parametrize("becomes", ["gone", "another"])
def test_a_file_that_goes_meanwhile_keeps_its_figures_and_the_hash_of_what_was_opened(
    tmp_path: Path, pictures: str, becomes: str
) -> None:
    model = write_bundle(tmp_path / "model.onnx")
    opened = hashlib.sha256(model.read_bytes()).hexdigest()

    def change(stage: str, done: int, total: int) -> None:
        if stage == "measuring" and done == 2:
            model.unlink()
            if becomes == "another":
                write_bundle(model, labels=("a", "b", "c", "d"))

    (run,) = bench(BenchOptions((model,), backends=("onnxruntime",), source=pictures), change, effort=QUICK).runs
    assert run.error is None
    assert (run.engine_sha256, run.precision, run.achieved) == (opened, "fp32", {})
    assert len(run.samples_ms) >= 24
    assert any(each.startswith("model.onnx was changed or removed while it was measured") for each in run.warnings)
