"""Rewrites of ONNX graphs: two made one, what is the same kept once, traces of the exporter gone, weights halved."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.version_converter
import onnx_ir
from onnx import TensorProto, compose, helper, numpy_helper
from onnx_ir.passes import common

from edgex.errors import ModelError

_NO_LIMIT = 2**62


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with equal weights stored once, equal computations done once, and no metadata.

    A body that the two networks share, weight for weight, is thereby computed once. The exporter's metadata holds stack
    traces with the paths of the machine that exported.
    """
    graph_model = onnx_ir.from_proto(model)
    for rewrite in (
        common.DeduplicateInitializersPass(size_limit=_NO_LIMIT),
        common.CommonSubexpressionEliminationPass(),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.ClearMetadataAndDocStringPass(),
    ):
        rewrite(graph_model)
    graph = graph_model.graph
    for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for node in graph:
        for output in node.outputs:
            output.metadata_props.clear()
    return onnx_ir.to_proto(graph_model)


def join(classifier: onnx.ModelProto, explainer: onnx.ModelProto) -> onnx.ModelProto:
    """Put a foreign classifier's own graph beside an Explainer's, over one image.

    Parameters
    ----------
    classifier : one image input, one output of class logits, any opset; its input must take the Explainer's shape
    explainer : input `image`, output `mask_logits`, whose opset and batch the joined graph has

    Raises
    ------
    ModelError
        If the classifier cannot be expressed in that opset.
    """
    opset = next(entry.version for entry in explainer.opset_import if entry.domain == "")
    try:
        converted = onnx.version_converter.convert_version(classifier, opset)
    except Exception as error:  # RuntimeError, or the converter's own ConvertError
        reason = str(error).strip().splitlines()[0][:160]
        raise ModelError(
            f"expected a classifier that opset {opset} expresses, got {reason}; export it with opset {opset}"
        ) from error
    ours = compose.add_prefix(explainer, "explainer/", rename_inputs=False, rename_outputs=False)
    theirs = compose.add_prefix(converted, "explanandum/")
    weights = {tensor.name for tensor in theirs.graph.initializer}
    entry = next(value.name for value in theirs.graph.input if value.name not in weights)
    image, mask_logits = ours.graph.input[0], ours.graph.output[0]
    batch = image.type.tensor_type.shape.dim[0]
    classes = mask_logits.type.tensor_type.shape.dim[1].dim_value
    shape = [batch.dim_param or batch.dim_value, classes]
    class_logits = helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, shape)
    nodes = [
        helper.make_node("Identity", [image.name], [entry]),
        *theirs.graph.node,
        helper.make_node("Identity", [theirs.graph.output[0].name], ["class_logits"]),
        *ours.graph.node,
    ]
    initializers = [*theirs.graph.initializer, *ours.graph.initializer]
    graph = helper.make_graph(nodes, "bundle", [image], [class_logits, mask_logits], initializers)
    domains = {entry.domain: entry for entry in (*theirs.opset_import, *ours.opset_import)}
    joined = helper.make_model(graph, opset_imports=list(domains.values()), ir_version=explainer.ir_version)
    joined.functions.extend([*theirs.functions, *ours.functions])
    return simplify(joined)


def halve_weights(model: onnx.ModelProto, smallest: int = 20_000) -> onnx.ModelProto:
    """Return a model whose large float32 weights are stored in float16 and cast back, so it computes in float32.

    ONNX Runtime folds the casts when it loads the file, so speed and kernels are those of the float32 model.

    Parameters
    ----------
    model : float32
    smallest : elements of a tensor; smaller ones stay float32. Biases and the first and depthwise layers of mobile
        networks hold most of the error for a few percent of the size: the shipped bundle's class logits are 0.37
        off with 256 elements (14.5 MB), 0.01 with 20,000 (15.4 MB)

    Raises
    ------
    ModelError
        If a weight is too large for float16.
    """
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < smallest:
            continue
        weights = numpy_helper.to_array(tensor)
        largest = float(np.abs(weights).max())
        if not largest <= float(np.finfo(np.float16).max):
            raise ModelError(
                f"expected weights of at most 65504 for --fp16, got {largest:g} in {tensor.name}; export without"
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    known = {cast.output[0] for cast in casts}  # their value_info, if any, speaks of the initialisers they were
    kept = [info for info in halved.graph.value_info if info.name not in known]
    del halved.graph.value_info[:]
    halved.graph.value_info.extend(kept)
    return halved
