"""Networks on the GPU where there is no TensorRT: ONNX Runtime's CUDA provider, or torch; with lanes, as a plan has.

They stand in for the engine, so that everything around it runs: context, upload, kernels, download, one stream. They
are timed as they come, with TF32 where the library takes it, as TensorRT does; they are judged without.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.steps import Missing
from benchmarks.precision_models import Model, untrained
from edgex import cuda
from edgex.onnx_file import read_onnx

ONNXRUNTIME, TORCH = "onnxruntime-cuda", "torch"
PRECISIONS = {ONNXRUNTIME: ("fp32",), TORCH: ("fp32", "fp16")}


Run = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]


class Beside:
    """What both share: a Network whose `run` goes by way of a lane, so that there is one way to compute."""

    streams = 1

    def __init__(self, backend: str, model: Model) -> None:
        file = read_onnx(model.path)
        self.backend, self.path, self.manifest = backend, model.path, file.manifest()
        self.input, self.outputs = file.inputs[0], file.outputs
        self.launches = "plain"

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        raise NotImplementedError

    def without_tf32(self) -> contextlib.AbstractContextManager[Run]:
        """Return what runs it with products of whole FP32 meanwhile; TF32 keeps 10 bits of the 23."""
        return contextlib.nullcontext(self.run)

    def shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of input and outputs for a batch."""
        specs = (self.input, *self.outputs)
        return {spec.name: (batch, *(int(axis or 0) for axis in (spec.shape or ())[1:])) for spec in specs}

    def close(self) -> None:
        pass


class Lane:
    """One inference a launch."""

    def __init__(self, launch: Callable[[], object], stream: cuda.Stream, launches: str = "plain") -> None:
        self.launch, self._stream, self.launches, self.plain_because = launch, stream, launches, ""

    def close(self) -> None:
        self._stream.synchronize()


class OnnxRuntimeCuda(Beside):
    """ONNX Runtime's CUDA provider, a session a stream. Raises Missing where there is none."""

    def __init__(self, model: Model) -> None:
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise Missing("this ONNX Runtime has no CUDA provider")
        super().__init__(ONNXRUNTIME, model)
        self._session = self._opened({})
        if "CUDAExecutionProvider" not in self._session.get_providers():
            raise Missing("the CUDA provider of ONNX Runtime does not load")

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return self._run(self._session, image)

    @contextlib.contextmanager
    def without_tf32(self) -> Iterator[Run]:
        session = self._opened({"use_tf32": "0"})
        if "CUDAExecutionProvider" not in session.get_providers():  # where it does not know the option
            raise Missing("this ONNX Runtime cannot leave TF32, so its logits cannot be judged")
        yield lambda image: self._run(session, image)

    def _run(self, session: Any, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        names = [spec.name for spec in self.outputs]
        return dict(zip(names, session.run(names, {self.input.name: image}), strict=True))

    def lane(self, addresses: Mapping[str, int], batch: int, stream: cuda.Stream, graph: bool = True) -> Lane:
        import onnxruntime

        session = self._opened({"user_compute_stream": str(stream.handle)})
        options, binding = onnxruntime.RunOptions(), session.io_binding()
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        for name, shape in self.shapes(batch).items():
            bind = binding.bind_input if name == self.input.name else binding.bind_output
            bind(name, "cuda", 0, np.float32, list(shape), addresses[name])
        return Lane(lambda: session.run_with_iobinding(binding, options), stream)

    def _opened(self, options: dict[str, str]) -> Any:
        import onnxruntime

        asked = onnxruntime.SessionOptions()
        asked.log_severity_level = 4
        return onnxruntime.InferenceSession(str(self.path), asked, providers=[("CUDAExecutionProvider", options)])


class OnDevice:
    """Memory of the GPU, as other libraries take it."""

    def __init__(self, address: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (address, False), "version": 3}


class TorchNetwork(Beside):
    """A model as a torch module, in FP32 or FP16. Raises Missing where torch, or what makes the module, lacks."""

    def __init__(self, model: Model, precision: str = "fp32", device: str = "cuda") -> None:
        try:
            import torch
        except ImportError as error:
            raise Missing("torch is not installed") from error
        if device == "cuda" and not torch.cuda.is_available():
            raise Missing("torch sees no GPU")
        super().__init__(TORCH, model)
        self._torch, self._device = torch, device
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._module = module_of(model).to(device=device, dtype=self._dtype)

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with self._torch.inference_mode():
            found = self._outputs(self._torch.from_numpy(image).to(self._device))
            return {name: each.float().cpu().numpy() for name, each in found.items()}

    @contextlib.contextmanager
    def without_tf32(self) -> Iterator[Run]:
        convolutions, products = self._torch.backends.cudnn, self._torch.backends.cuda.matmul
        before = convolutions.allow_tf32, products.allow_tf32
        convolutions.allow_tf32 = products.allow_tf32 = False
        try:
            yield self.run
        finally:
            convolutions.allow_tf32, products.allow_tf32 = before

    def lane(self, addresses: Mapping[str, int], batch: int, stream: cuda.Stream, graph: bool = True) -> Lane:
        torch, shapes = self._torch, self.shapes(batch)
        at = {name: torch.as_tensor(OnDevice(addresses[name], shapes[name]), device="cuda") for name in shapes}
        on = torch.cuda.ExternalStream(stream.handle)

        def work() -> None:
            with torch.inference_mode():
                for name, each in self._outputs(at[self.input.name]).items():
                    at[name].copy_(each)

        def launch() -> None:
            with torch.cuda.stream(on):
                work()

        for _ in range(3):
            launch()
        stream.synchronize()
        if not graph:
            return Lane(launch, stream)
        captured = torch.cuda.CUDAGraph()
        with contextlib.suppress(RuntimeError):  # what does not go into a graph is launched one by one
            with torch.cuda.graph(captured, stream=on):
                work()

            def replay() -> None:
                with torch.cuda.stream(on):
                    captured.replay()

            return Lane(replay, stream, "graph")
        return Lane(launch, stream)

    def _outputs(self, image: Any) -> dict[str, Any]:
        found = self._module(image.to(self._dtype))
        found = found if isinstance(found, (tuple, list)) else (found,)
        return dict(zip([spec.name for spec in self.outputs], found, strict=True))


def module_of(model: Model) -> Any:
    """Return a model as torch.nn.Module, image to its outputs in the file's order. Raises Missing."""
    if importlib.util.find_spec("torch") is None:
        raise Missing("torch is not installed")
    try:
        if not model.trained:
            manifest = model.manifest()
            return untrained(model.name, len(manifest.labels), model.frames, manifest.input).requires_grad_(False)
        import onnx

        from benchmarks.peers_torch import float_file
        from training.models import onnx_explanandum

        convert = importlib.import_module("onnx2torch").convert  # after that one, which mends torchvision for it
        with tempfile.TemporaryDirectory() as folder:
            plain = onnx.load(str(float_file(model.path, Path(folder) / "float.onnx")))
        older = onnx.version_converter.convert_version(plain, onnx_explanandum.OLDER_OPSET)
        return convert(onnx_explanandum._simplified(older)).eval().requires_grad_(False)
    except ImportError as error:
        raise Missing(f"the torch module takes more than torch: {error}") from error


def without_tf32(network: Any) -> contextlib.AbstractContextManager[Run]:
    """Return what runs a network without TF32 meanwhile, which only a stand-in takes by itself."""
    return network.without_tf32() if isinstance(network, Beside) else contextlib.nullcontext(network.run)


def open_beside(runtime: str, model: Model, precision: str) -> Beside:
    """Open a stand-in. Raises Missing."""
    return OnnxRuntimeCuda(model) if runtime == ONNXRUNTIME else TorchNetwork(model, precision)
