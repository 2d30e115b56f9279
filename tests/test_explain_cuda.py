"""A frame's whole way on the GPU: what is called in which order, what lives how long, and that the picture is right.

On a stand-in in this process, whose kernels are the real ones on the CPU; where there is a GPU, on that too.
"""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgex import cuda
from edgex.build import BuildOptions, build
from edgex.compositors import reference
from edgex.compositors.cuda import CudaCompositor
from edgex.compositors.palette import class_color
from edgex.cuda_memory import pinned_image, pinned_of
from edgex.engines import Engine, open_network, tensorrt
from edgex.errors import EdgexError, ModelError, UsageError
from edgex.explain import Explainer, load
from edgex.explain_cuda import CudaPath, reason_missing
from edgex.frame_path import HostPath, open_path
from edgex.manifest import InputSpec
from edgex.pipeline import RunOptions, run
from edgex.preprocess import preprocess_opencv
from edgex.sources import open_source
from edgex.types import STYLES, Drawing, Shot, Style
from edgex.view import View
from tests.bundles import patched_picture
from tests.compositors.parity import assert_parity
from tests.gpus import require_gpu
from tests.kernels.emulated import needs_gxx
from tests.stand_in_gpu import HostNetwork, StandIn

WHOLE = ["upload", "preprocess_f32", "engine", "download", "wait", "composite_overlay_f32", "download", "wait"]
FIRST = [*WHOLE[:5], "upload", *WHOLE[5:]]  # colors and classes travel when the drawing changes
RED_BLUE = Drawing((0, 2), (class_color(0), class_color(2)))
LEVEL = 1.001 / 255 / 0.5  # of the tiny bundle's input


@pytest.fixture(
    params=[
        pytest.param("copied", marks=needs_gxx),
        pytest.param("mapped", marks=needs_gxx),
        pytest.param("gpu", marks=pytest.mark.gpu),
    ]
)
def gpu(request: pytest.FixtureRequest) -> Any:
    return require_gpu() if request.param == "gpu" else StandIn(integrated=request.param == "mapped")


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


def opened(bundle: Path, gpu: Any) -> Explainer:
    return Explainer(Engine(HostNetwork(bundle, gpu)), CudaCompositor(gpu))  # type: ignore[arg-type]


def noise(height: int, width: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("style", STYLES)
def test_pictures_are_the_oracle_s_at_every_size(bundle: Path, gpu: Any, style: Style) -> None:
    path, what = CudaPath(opened(bundle, gpu), gpu), Drawing(RED_BLUE.classes, RED_BLUE.colors, style, 0.7)
    for size in ((64, 96), (37, 53), (130, 171), (5, 1), (64, 96)):
        image = noise(*size)
        path.upload(image)
        logits, tensor = path.infer(tensor=True)
        assert tensor is not None
        assert np.abs(tensor - preprocess_opencv(image, spec())).max() <= 2 * LEVEL
        expected = open_network(bundle, "onnxruntime").run(tensor)
        np.testing.assert_allclose(logits.mask_logits, expected["mask_logits"], atol=1e-4)
        np.testing.assert_allclose(logits.class_logits, expected["class_logits"], atol=1e-4)  # type: ignore[arg-type]
        assert_parity(path.compose(what), image, logits.mask_logits[0], what)


def spec() -> InputSpec:
    return InputSpec(32, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("pin", [False, True])
def test_the_whole_way_gives_what_the_cpu_s_path_gives(bundle: Path, gpu: Any, pin: bool) -> None:
    path, cpu = CudaPath(opened(bundle, gpu), gpu), Explainer(Engine(open_network(bundle)), reference.open())
    for view in (View(), View(("blue",), style="outline"), View(hidden=frozenset({"red"}), threshold=0.9)):
        image = patched_picture(64, 96, "red")  # both ways make the same input of it
        out = None
        if pin:
            image, given = pinned_image(gpu, 64, 96), image
            image[...] = given
            out = pinned_image(gpu, 64, 96)
        picture, explanation = path.explain(image, view, out)
        assert (out is None) or picture is out
        expected = cpu.explain(image)
        assert explanation.scores == pytest.approx(expected.scores, abs=1e-5)
        shown = expected.shown(view.classes, view.top, view.threshold, view.hidden)
        theirs = expected.compose([each.label for each in shown], view.style, view.opacity) if shown else image
        assert np.abs(picture.astype(int) - theirs.astype(int)).max() <= 1


def test_a_frame_travels_once_each_way_in_one_stream_with_one_wait_between(bundle: Path, stand_in: StandIn) -> None:
    explainer = opened(bundle, stand_in)
    path = CudaPath(explainer, stand_in)  # type: ignore[arg-type]
    for expected in (FIRST, WHOLE, WHOLE):
        stand_in.calls.clear()
        path.upload(noise(40, 60))
        assert "wait" not in [name for _, name in stand_in.calls]
        path.infer()
        path.compose(RED_BLUE)
        assert [name for _, name in stand_in.calls] == expected
        assert len({stream for stream, _ in stand_in.calls}) == 1


def test_where_memory_is_shared_nothing_is_copied(bundle: Path) -> None:
    gpu = StandIn(integrated=True)
    path = CudaPath(opened(bundle, gpu), gpu)  # type: ignore[arg-type]
    image, out = pinned_image(gpu, 40, 60), pinned_image(gpu, 40, 60)  # type: ignore[arg-type]
    image[...] = noise(40, 60)
    for frame, target in ((image, out), (image.copy(), None)):
        gpu.calls.clear()
        path.upload(frame)
        logits = path.infer(tensor=True)[0].mask_logits[0]
        picture = path.compose(RED_BLUE, logits, out=target)
        assert {name for _, name in gpu.calls} == {"preprocess_f32", "engine", "wait", "composite_overlay_f32"}
        assert_parity(picture, image, logits, RED_BLUE)


def test_a_steady_state_allocates_nothing_and_a_larger_frame_what_it_needs(bundle: Path, stand_in: StandIn) -> None:
    path = CudaPath(opened(bundle, stand_in), stand_in)  # type: ignore[arg-type]
    view = View(("red", "blue"))
    path.explain(noise(100, 120), view)
    before, live = stand_in.allocations, stand_in.live
    for size in ((100, 120), (37, 53), (99, 121), (100, 120)):
        path.explain(noise(*size), view)
    assert stand_in.allocations == before
    path.explain(noise(200, 220), view)
    assert (stand_in.allocations, stand_in.live) == (before + 4, live)  # frame and picture, host and GPU


def test_pinned_pictures_outlive_everything_and_go_with_their_last_array(bundle: Path, stand_in: StandIn) -> None:
    path, before = CudaPath(opened(bundle, stand_in), stand_in), stand_in.live  # type: ignore[arg-type]
    image, out = pinned_image(stand_in, 40, 50), pinned_image(stand_in, 40, 50)  # type: ignore[arg-type]
    image[...] = noise(40, 50)
    path.explain(image, View(("red",)), out)
    host = {"frame": path._image._host, "picture": path._picture._host}
    assert host == {"frame": None, "picture": None}  # nothing was copied on the host
    copy, part = out.copy(), out[3:, ::2]
    del out, image
    path.close()
    del path
    gc.collect()
    assert np.array_equal(part, copy[3:, ::2])
    assert stand_in.live < before + 3
    live = stand_in.live
    del part
    gc.collect()
    assert stand_in.live == live - 1


def test_only_a_whole_pinned_picture_passes_for_one(stand_in: StandIn) -> None:
    image = pinned_image(stand_in, 20, 30)  # type: ignore[arg-type]
    assert pinned_of(image) is not None
    assert pinned_of(image[:]) is pinned_of(image)
    for other in (image[1:], image[:, :20], image[::-1], image.copy(), image[:, ::-1], image[:, :, ::-1]):
        assert pinned_of(other) is None


def test_a_part_of_a_pinned_picture_is_a_frame_like_any_other(bundle: Path, stand_in: StandIn) -> None:
    path = CudaPath(opened(bundle, stand_in), stand_in)  # type: ignore[arg-type]
    whole = pinned_image(stand_in, 60, 80)  # type: ignore[arg-type]
    whole[...] = noise(60, 80)
    part = whole[10:50, 70:5:-2]
    picture, explanation = path.explain(part, View(("green",)))
    assert_parity(picture, part, explanation.mask_logits, Drawing((1,), (class_color(1),)))


def test_smoothed_masks_take_the_place_of_those_inferred(bundle: Path, gpu: Any) -> None:
    path, image = CudaPath(opened(bundle, gpu), gpu), noise(50, 70)
    path.upload(image)
    logits = path.infer()[0].mask_logits[0]
    other = np.random.default_rng(0).normal(0, 4, logits.shape).astype(np.float32)
    assert_parity(path.compose(RED_BLUE, other), image, other, RED_BLUE)
    with pytest.raises(UsageError, match=r"expected mask logits \[3, 4, 4\], got \[3, 2, 4\]; give those of all"):
        path.compose(RED_BLUE, other[:, ::2])


def test_what_is_out_of_turn_or_does_not_fit_is_refused_and_the_next_frame_passes(bundle: Path, gpu: Any) -> None:
    explainer = opened(bundle, gpu)
    path, image = CudaPath(explainer, gpu), noise(50, 70)
    right = path.explain(image, View(("red",)))[0]

    def inferred() -> None:
        path.upload(image)
        path.infer()

    with pytest.raises(UsageError, match="expected a uint8 picture"):
        path.upload(image[:, :, 0])
    path.upload(image)
    with pytest.raises(UsageError, match="expected a frame that was inferred, got none; infer first"):
        path.compose(RED_BLUE)
    with pytest.raises(UsageError, match="expected a frame that was uploaded, got none; upload a frame first"):
        path.infer()
    inferred()
    with pytest.raises(UsageError, match="expected classes of 0 to 2, got 3"):
        path.compose(Drawing((3,), ((1, 2, 3),)))
    for out, got in ((image.copy(), "another array"), (pinned_image(gpu, 50, 71), "50 x 71")):
        inferred()
        with pytest.raises(UsageError, match=f"expected a picture of 50 x 70 by pinned_image, got {got}; make one"):
            path.compose(RED_BLUE, out=out)
    assert np.array_equal(path.explain(image, View(("red",)))[0], right)
    path.upload(noise(30, 20))  # given up
    assert np.array_equal(path.explain(image, View(("red",)))[0], right)
    path.close()
    path.close()
    with pytest.raises(ModelError, match="closed"):
        path.upload(image)


@pytest.mark.parametrize("broken", sorted({*WHOLE} - {"wait"}))
def test_after_a_failure_nothing_is_under_way_and_the_next_frame_is_right(
    bundle: Path, stand_in: StandIn, broken: str
) -> None:
    path, image = CudaPath(opened(bundle, stand_in), stand_in), noise(50, 70)  # type: ignore[arg-type]
    right = path.explain(image, View(("red",)))[0]
    stand_in.broken = {broken}
    with pytest.raises(EdgexError, match=f"expected the GPU to do its work, got: {broken} is broken"):
        path.explain(image, View(("blue",)))
    assert [stream.waiting for stream in stand_in.streams if stream.waiting] == []
    stand_in.broken = set()
    assert np.array_equal(path.explain(image, View(("red",)))[0], right)


def test_logits_that_are_none_are_refused(bundle: Path, gpu: Any) -> None:
    explainer = opened(bundle, gpu)
    path, network = CudaPath(explainer, gpu), explainer.engine.network
    network.spoil = lambda values: np.full_like(values, np.nan)  # type: ignore[attr-defined]
    path.upload(noise(40, 40))
    with pytest.raises(ModelError, match="expected finite mask_logits"):
        path.infer()


def test_paths_of_one_explainer_run_beside_one_another(bundle: Path, gpu: Any) -> None:
    explainer, wrong = opened(bundle, gpu), []
    images = [noise(40 + number, 60) for number in range(4)]
    view = View(("red", "green"))
    right = [CudaPath(explainer, gpu).explain(image, view)[0] for image in images]
    paths = [CudaPath(explainer, gpu) for _ in images]

    def work(number: int) -> None:
        for _ in range(5):
            if not np.array_equal(paths[number].explain(images[number], view)[0], right[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("smooth_s", [0.0, 0.2])
def test_the_live_path_goes_over_the_gpu_and_gives_what_it_gives_on_the_host(
    bundle: Path, gpu: Any, smooth_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "device", lambda: gpu)
    on_gpu, host = opened(bundle, gpu), Explainer(Engine(open_network(bundle)), reference.open())
    seen = []
    for explainer in (on_gpu, host):
        shots: list[Shot] = []
        options = RunOptions(limit=12, smooth_s=smooth_s, monitor_every=4)
        run(open_source("synthetic:96x64"), explainer, [], View(("blue", "red")), options, observe=shots.append)
        seen.append(shots)
    assert [len(shots) for shots in seen] == [12, 12]
    for ours, theirs in zip(*seen, strict=True):
        assert ours.frame.index == theirs.frame.index
        assert np.abs(ours.picture.astype(int) - theirs.picture).max() <= 2  # inputs differ by rounding
        assert ours.record["flicker"] == pytest.approx(theirs.record["flicker"], abs=1e-3)
        assert (ours.record["monitor"] is None) == (theirs.record["monitor"] is None)
    if isinstance(gpu, StandIn):
        names = [name for _, name in gpu.calls]
        assert names.count("engine") == 12
        assert names.count("preprocess_f32") == 12
        assert len({stream for stream, name in gpu.calls if name.startswith("composite")}) > 1  # frames overlap


def test_a_frame_s_way_is_the_gpu_s_only_where_all_parts_are_there(bundle: Path, stand_in: StandIn) -> None:
    plain = Explainer(Engine(open_network(bundle, "onnxruntime")), reference.open())
    path = open_path(plain)
    assert isinstance(path, HostPath)
    with pytest.raises(UsageError, match="upload a frame first"):
        path.infer()
    with pytest.raises(UsageError, match="infer first"):
        path.compose(RED_BLUE)
    larger = opened(bundle, stand_in)
    larger.engine.network.smallest = (4, 3, 32, 32)  # type: ignore[attr-defined]
    assert "one for 4 at least" in reason_missing(larger)


def test_an_explainer_without_a_gpu_s_parts_is_told_why(bundle: Path, stand_in: StandIn) -> None:
    plain = Explainer(Engine(open_network(bundle, "onnxruntime")), reference.open())
    with pytest.raises(UsageError, match="expected an engine of TensorRT, got one of onnxruntime; build it"):
        CudaPath(plain)
    half = Explainer(opened(bundle, stand_in).engine, reference.open())
    assert reason_missing(half) == "expected the compositor cuda, got reference; see edgex doctor"


@pytest.mark.gpu
@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_a_real_plan_draws_what_the_cpu_s_path_draws(bundle: Path, tmp_path: Path, flavour: str) -> None:
    gpu = require_gpu()
    if reason := tensorrt.reason_missing(flavour):
        pytest.skip(reason)
    built = build(BuildOptions(bundle, backend=flavour, output=tmp_path / "tiny.engine", unchecked=True))
    explainer, cpu = load(built.path, compositor="cuda"), load(bundle, compositor="reference")
    paths = [CudaPath(explainer, gpu) for _ in range(2)]
    for size in ((64, 96), (721, 1279), (1080, 1920), (64, 96)):
        image = patched_picture(*size, "red") if size[0] == 64 else noise(*size)
        for path in paths:
            path.upload(image)
        for path in paths:
            logits = path.infer()[0]
            np.testing.assert_allclose(logits.mask_logits, cpu.explain(image).mask_logits[None], atol=0.3)
            assert_parity(path.compose(RED_BLUE), image, logits.mask_logits[0], RED_BLUE)
    explainer.close()
    with pytest.raises(ModelError, match="closed"):
        paths[0].explain(image)
