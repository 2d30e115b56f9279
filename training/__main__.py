"""Command line of training: a subcommand parses, calls one function with an options dataclass, prints the outcome."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from typer import Option

from edgex.errors import EdgexError, UsageError
from training import train_commands

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Data = Annotated[
    str, Option(help="voc:DIR, coco:DIR, folder:DIR or csv:FILE; a bare path is recognised by its layout.")
]
Explainer = Annotated[Path, Option(help="Checkpoint of the Explainer.")]
Explanandum = Annotated[
    str | None, Option(help="Checkpoint or onnx:FILE [default: the one that the Explainer was trained against].")
]
Split = Annotated[str, Option(help="train, val or test.")]
Labels = train_commands.Labels
Task = train_commands.Task
Mean = train_commands.Mean
IMAGENET_MEAN = train_commands.IMAGENET_MEAN
IMAGENET_STD = train_commands.IMAGENET_STD


@app.callback()
def training() -> None:
    """Train classifiers and Explainers, evaluate them, export bundles."""


@app.command()
def compose(
    cutouts: Annotated[Path, Option(help="Folder of RGBA cut-outs, one folder a class.")],
    backgrounds: Annotated[Path, Option(help="Folder of photographs.")],
    out: Annotated[Path, Option(help="Folder to write, in VOC layout; must not exist yet.")],
    scenes: Annotated[tuple[int, int, int, int], Option(help="Scenes of train, val, test and seen.")] = (
        4000,
        500,
        500,
        500,
    ),
    size: Annotated[int, Option(help="Square root of a scene's area in pixels.")] = 320,
    aspect: Annotated[tuple[float, float], Option(help="Range of width / height.")] = (1.0, 1.78),
    objects: Annotated[str, Option(help="Shares of scenes of 1, 2, ... objects.")] = "0.4,0.35,0.17,0.08",
    empty_share: Annotated[float, Option(help="Share of scenes without any object.")] = 0.0,
    scale: Annotated[tuple[float, float], Option(help="Range of an object's longest side over --size.")] = (0.45, 0.9),
    rotation: Annotated[float, Option(help="Largest rotation either way in degrees.")] = 25.0,
    lighting: Annotated[float, Option(help="Strength of changes of the light; 0 for none.")] = 0.25,
    min_visible: Annotated[float, Option(help="Share of each object that must stay visible.")] = 0.6,
    void: Annotated[int, Option(help="Pixels of void on either side of an outline.")] = 2,
    val_share: Annotated[float, Option(help="Share of identities and backgrounds of val.")] = 0.1,
    test_share: Annotated[float, Option(help="Share of identities and backgrounds of test.")] = 0.2,
    test_identities: Annotated[str, Option(help="What must be in test: NAME,NAME (files without suffix).")] = "",
    seed: Annotated[int, Option(help="The same seed gives the same bytes.")] = 42,
    workers: Annotated[int, Option(help="Processes; 0 for one a core.")] = 0,
) -> None:
    """Compose multi-label scenes from cut-outs over photographs.

    Example: python -m training compose --cutouts stamps --backgrounds photographs --out scenes
    """
    from training.compose import ComposeOptions
    from training.compose import compose as compose_scenes
    from training.progress import counting
    from training.scene import SceneStyle

    try:
        shares = tuple(float(share) for share in objects.split(","))
    except ValueError as error:
        raise UsageError(f"expected --objects such as 0.5,0.3,0.2, got {objects!r}; give numbers") from error
    style = SceneStyle(size, aspect, shares, empty_share, scale, rotation, lighting, min_visible, void)
    forced = tuple(name.strip() for name in test_identities.split(",") if name.strip())
    options = ComposeOptions(cutouts, backgrounds, out, scenes, seed, val_share, test_share, forced, workers, style)
    with counting(Console(stderr=True)) as report:
        stocks = compose_scenes(options, lambda done, total: report("scenes", done, total))
    for split, stock in stocks.items():
        identities = sum(len({cutout.identity for cutout in cutouts}) for cutouts in stock.cutouts)
        print(f"{split}: {identities} identities, {len(stock.backgrounds)} backgrounds")
    print(f"written: {out}")


@app.command()
def evaluate(
    data: Data,
    explainer: Explainer,
    explanandum: Explanandum = None,
    split: Split = "test",
    output: Annotated[Path | None, Option(help="JSON report.")] = None,
    heat_map: Annotated[Path | None, Option(help="PNG of the class-specificity matrices.")] = None,
    pictures: Annotated[Path | None, Option(help="Folder for pictures of good and bad cases.")] = None,
    picture_count: Annotated[int, Option(help="How many of each.")] = 6,
    limit: Annotated[int | None, Option(help="Only so many images, evenly drawn over the classes.")] = None,
    specificity_images: Annotated[int, Option(help="Images for class specificity; 0 for all.")] = 200,
    gradcam: Annotated[bool, Option(help="Score Grad-CAM too.")] = True,
    batch: Annotated[int, Option(help="Images at once.")] = 16,
    workers: Annotated[int, Option(help="Processes that read images.")] = 0,
    seed: Annotated[int, Option(help="Of what is drawn.")] = 0,
    device: Annotated[str, Option(help="auto, cpu, cuda or mps.")] = "auto",
    labels: Labels = None,
    task: Task = "single-label",
    mean: Mean = IMAGENET_MEAN,
    std: Mean = IMAGENET_STD,
) -> None:
    """Score an Explainer: the paper's metrics, class specificity, shortcut checks, baselines.

    Example: python -m training evaluate --data voc:scenes --explainer runs/explainer/best.pt --output report.json
    """
    from training.evaluate import EvaluateOptions
    from training.evaluate import evaluate as evaluate_explainer
    from training.models.frozen import ForeignInput
    from training.progress import counting
    from training.report import tables

    options = EvaluateOptions(
        data=data,
        explainer=explainer,
        explanandum=explanandum,
        split=split,
        output=output,
        heat_map=heat_map,
        pictures=pictures,
        picture_count=picture_count,
        limit=limit,
        specificity_images=specificity_images,
        gradcam=gradcam,
        batch=batch,
        workers=workers,
        seed=seed,
        device=device,
        foreign=ForeignInput(labels, task, mean, std),  # type: ignore[arg-type]  # checked by ForeignInput
    )
    with counting(Console(stderr=True)) as report:
        scores = evaluate_explainer(options, report)
    console = Console()
    for table in tables(scores):
        console.print(table)
    for path in (output, heat_map, pictures):
        if path is not None:
            print(f"written: {path}")


@app.command()
def export(
    data: Data,
    explainer: Explainer,
    output: Annotated[Path, Option(help="The bundle to write, NAME.onnx.")],
    explanandum: Explanandum = None,
    split: Split = "val",
    images: Annotated[int, Option(help="Images that PyTorch and ONNX Runtime are compared on.")] = 16,
    fp16: Annotated[bool, Option("--fp16", help="Store large weights in float16.")] = False,
    evaluation: Annotated[Path | None, Option(help="Report of `evaluate`, for the manifest.")] = None,
    training_data: Annotated[str | None, Option(help="Name of the data, for the manifest.")] = None,
    licence: Annotated[str | None, Option(help="SPDX expression of the weights, for the manifest.")] = None,
    calibration: Annotated[str | None, Option(help="Calibration frames, relative to the bundle.")] = None,
    labels: Labels = None,
    task: Task = "single-label",
    mean: Mean = IMAGENET_MEAN,
    std: Mean = IMAGENET_STD,
) -> None:
    """Write classifier and Explainer as one ONNX bundle and compare it to PyTorch.

    Example: python -m training export --data voc:scenes --explainer runs/explainer/best.pt --output bundle.onnx
    """
    from training.export import ExportOptions
    from training.export import export as export_bundle
    from training.models.frozen import ForeignInput

    options = ExportOptions(
        explainer=explainer,
        output=output,
        data=data,
        explanandum=explanandum,
        split=split,
        images=images,
        fp16=fp16,
        evaluation=evaluation,
        training_data=training_data,
        licence=licence,
        calibration=calibration,
        foreign=ForeignInput(labels, task, mean, std),  # type: ignore[arg-type]  # checked by ForeignInput
    )
    exported = export_bundle(options)
    for name, difference in (("float32", exported.float32), ("float16 weights", exported.rounded)):
        if difference is not None:
            print(
                f"largest difference from PyTorch over {exported.images} images, {name}: "
                f"class logits {difference.class_logits:.2e}, mask logits {difference.mask_logits:.2e}"
            )
    print(f"written: {exported.path} ({exported.size_bytes / 1e6:.1f} MB)")


app.command()(train_commands.explanandum)
app.command()(train_commands.explainer)


def main() -> None:
    """Run the command line; an error that is meant for the user is one sentence."""
    try:
        app()
    except EdgexError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("error: stopped", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
