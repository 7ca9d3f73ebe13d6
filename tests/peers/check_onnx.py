"""Checks exported models: `check_onnx.py FOLDER [--quantized]`, one case per sub-folder.

A case holds model.onnx, input.f32, boxes.f32 and scores.f32 (little-endian floats; what oxidet computes). The suppression node
is a TensorRT plugin that neither onnx nor onnxruntime knows, so the model is cut before it: onnx checks and runs shape inference
on the rest, onnxruntime runs it.

A sum that is rounded another way can send a value of a quantised network to the next step, which shows in all that depends on it.
So there the middle of the differences is to be rounding, and the largest a few steps; onnxruntime is asked not to rewrite the
model, and then, as it runs by default, in INT8 kernels.
"""
import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime

BOXES, SCORES = "box/concat_concat", "cls/mul"
TOLERANCE = 1e-4
QUANTIZED_TOLERANCE = 0.02
QUANTIZED = "--quantized" in sys.argv


def run(model, values, optimize):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert image.name == "Input", image.name
    return session.run([BOXES, SCORES], {"Input": values.reshape(-1, *image.shape[1:])})


def check(case):
    model = onnx.load(case / "model.onnx")
    nms = model.graph.node[-1]
    assert nms.op_type == "BatchedNMSDynamic_TRT" and list(nms.input) == [BOXES, SCORES], nms
    shapes = {output.name: output.type.tensor_type.shape.dim for output in model.graph.output}
    assert sorted(shapes) == ["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"], shapes

    del model.graph.node[-1]
    del model.graph.output[:]
    for name in (BOXES, SCORES):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4))
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    values = numpy.fromfile(case / "input.f32", "<f4")
    if QUANTIZED:
        check_quantizers(case, model.graph)
        compare(case, run(model, values, optimize=False), QUANTIZED_TOLERANCE, middle=TOLERANCE)
        compare(case, run(model, values, optimize=True), QUANTIZED_TOLERANCE, middle=QUANTIZED_TOLERANCE)
    else:
        compare(case, run(model, values, optimize=True), TOLERANCE, middle=TOLERANCE)
    print(f"ok {case.name}")


def check_quantizers(case, graph):
    """Every convolution and addition reads tensors rounded to the ranges of the scale file, and kernels rounded filter by filter."""
    ranges = json.loads((case / "scales.json").read_text())["tensor_scales"]
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def pair(value):
        back = makers[value]
        to = makers[back.input[0]]
        assert (back.op_type, to.op_type) == ("DequantizeLinear", "QuantizeLinear"), (value, back.op_type)
        assert list(back.input[1:]) == list(to.input[1:]) and not constants[to.input[2]].any(), value
        return to.input[0], constants[to.input[1]]

    for node in graph.node:
        if node.op_type == "Conv" or node.op_type == "Add" and node.input[0] + "/codes" in makers:
            for value in node.input if node.op_type == "Add" else node.input[:1]:
                tensor, scale = pair(value)
                assert numpy.isclose(scale * 127, ranges[tensor], rtol=1e-6), (node.name, tensor, scale)
        if node.op_type == "Conv":
            kernel, scales = pair(node.input[1])
            largest = numpy.abs(constants[kernel]).reshape(len(scales), -1).max(axis=1)
            assert numpy.allclose(scales * 127, largest, rtol=1e-6), node.name


def compare(case, outputs, tolerance, middle):
    for found, name in zip(outputs, ("boxes.f32", "scores.f32")):
        wanted = numpy.fromfile(case / name, "<f4")
        assert found.size == wanted.size, (found.shape, wanted.size)
        # Sizes can reach thousands of canvases; their rounding is relative.
        difference = numpy.abs(found.ravel() - wanted) / numpy.maximum(1, numpy.abs(wanted))
        largest, median = float(difference.max()), float(numpy.median(difference))
        assert largest <= tolerance, f"{case.name}: {name} differs by {largest}"
        assert median <= middle, f"{case.name}: {name} differs by {median} in the middle"


for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    check(folder)
