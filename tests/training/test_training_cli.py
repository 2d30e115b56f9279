"""The command line: every subcommand's help, a run from images to a bundle, and errors of one sentence."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.shapes import write_shapes

COMMANDS = ("compose", "explanandum", "explainer", "evaluate", "export")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}


def training(*arguments: object, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def head(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints of a classifier that the command line trained."""
    out = tmp_path_factory.mktemp("runs") / "head"
    options = ["--size", "32", "--epochs", "1", "--batch", "4", "--freeze-body", "--augment", "--workers", "0"]
    run = training("explanandum", "--data", f"voc:{shapes}", "--out", out, *options)
    assert run.returncode == 0, run.stderr
    assert "finished after 1 epochs, 2 steps" in run.stdout
    assert "validation  loss" in run.stderr
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_loads_no_torch(command: str) -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from training.__main__ import app\n"
        f"outcome = CliRunner().invoke(app, ['{command}', '--help'])\n"
        "print(outcome.output); assert outcome.exit_code == 0; assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"Example: python -m training {command}" in run.stdout


def test_from_images_to_a_bundle(shapes: Path, head: Path, tmp_path: Path) -> None:
    data = f"voc:{shapes}"
    small = ["--epochs", "1", "--batch", "4", "--workers", "0"]
    second = ["--init-from", head / "best.pt", "--size", "32", "--freeze-norm", "--body-lr", "1e-5"]
    run = training("explanandum", "--data", data, "--out", tmp_path / "cls", *second, *small)
    assert run.returncode == 0, run.stderr
    masks = ["--explanandum", tmp_path / "cls" / "last.pt", "--init-from-explanandum", "--tv", "0.2", *small]
    run = training("explainer", "--data", data, "--out", tmp_path / "masks", *masks, "--specificity-images", "1")
    assert run.returncode == 0, run.stderr
    assert "own_over_other" in run.stderr
    trained = ["--data", data, "--explainer", tmp_path / "masks" / "last.pt"]
    run = training(
        "evaluate", *trained, "--output", tmp_path / "report.json", "--specificity-images", "2", "--no-gradcam"
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "report.json").is_file()
    run = training("export", *trained, "--output", tmp_path / "bundle.onnx", "--images", "2")
    assert run.returncode == 0, run.stderr
    assert "largest difference from PyTorch over 2 images" in run.stdout
    # The bundle is itself an Explanandum.
    again = ["--explanandum", f"onnx:{tmp_path / 'bundle.onnx'}", "--no-pretrained", *small]
    run = training("explainer", "--data", data, "--out", tmp_path / "again", *again, "--specificity-images", "0")
    assert run.returncode == 0, run.stderr


def one_sentence(run: subprocess.CompletedProcess[str], code: int) -> str:
    assert run.returncode == code, run.stderr
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("error: expected ")
    assert "Traceback" not in run.stderr
    return lines[0]


def test_a_missing_dataset_is_named(tmp_path: Path) -> None:
    run = training("explanandum", "--data", "voc:nowhere", "--out", tmp_path)
    assert "nowhere" in one_sentence(run, 1)


def test_a_missing_explanandum_is_named(shapes: Path, tmp_path: Path) -> None:
    run = training("explainer", "--data", shapes, "--explanandum", "none.pt", "--out", tmp_path)
    assert "none.pt" in one_sentence(run, 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--preset", "mine"], "coco-vgg16"), (["--lr", "0"], "--lr"), (["--min-area", "2"], "min-area")],
)
def test_wrong_options_have_exit_code_2(
    shapes: Path, head: Path, tmp_path: Path, options: list[str], named: str
) -> None:
    run = training(
        "explainer", "--data", shapes, "--explanandum", head / "last.pt", "--out", tmp_path / "run", *options
    )
    assert named in one_sentence(run, 2)


def test_an_unreadable_picture_is_named(head: Path, tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "data", train=4, val=1)
    broken = data / "JPEGImages" / "train_002.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    options = ["--size", "32", "--epochs", "1", "--batch", "4", "--freeze-body", "--no-pretrained"]
    for workers in (0, 1):
        run = training(
            "explanandum", "--data", data, "--out", tmp_path / f"run{workers}", *options, "--workers", workers
        )
        assert "train_002.jpg" in one_sentence(run, 1)


def test_out_of_space_is_one_sentence_and_the_checkpoints_are_intact(shapes: Path, head: Path) -> None:
    before = {path.name: path.read_bytes() for path in head.glob("*.pt")}
    options = ["--size", "32", "--epochs", "2", "--batch", "4", "--freeze-body", "--workers", "0", "--resume"]
    run = training("explanandum", "--data", shapes, "--out", head, *options, largest_file=1_000_000)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("error: expected room to write")
    assert "Traceback" not in run.stderr
    assert {path.name: path.read_bytes() for path in head.glob("*.pt")} == before


def test_ctrl_c_saves_and_resume_goes_on(shapes: Path, tmp_path: Path) -> None:
    options = [
        "--size",
        "32",
        "--epochs",
        "500",
        "--batch",
        "2",
        "--patience",
        "0",
        "--freeze-body",
        "--no-pretrained",
        "--workers",
        "1",
    ]
    command = [sys.executable, "-m", "training", "explanandum", "--data", str(shapes), "--out", str(tmp_path), *options]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.readline()  # the first validation: training is under way
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        said = process.stdout.read()
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert "interrupted after" in said
    steps = int(said.split(" epochs, ")[1].split()[0])
    epochs = steps // 4 + 1
    options[options.index("--epochs") + 1] = str(epochs)
    run = training("explanandum", "--data", shapes, "--out", tmp_path, *options, "--resume")
    assert run.returncode == 0, run.stderr
    assert f"finished after {epochs} epochs, {4 * epochs} steps" in run.stdout
