"""Checks exported models: `check_onnx.py FOLDER [--quantized]`, one case per sub-folder.

A case holds model.onnx, input.f32, boxes.f32 and scores.f32 (little-endian floats; what oxidet computes), and nms.json: how to
suppress, and whether the layers are half precision. A plugin of TensorRT that neither onnx nor onnxruntime knows is checked for its
attributes and cut off: onnx checks and runs shape inference on the rest, onnxruntime runs it. A model without plugins is checked
and run as it is; what its suppression selects must be detections.f32: rows of image, class, score and corners.

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

TOLERANCE = 1e-4
HALF_TOLERANCE = 0.02
QUANTIZED_TOLERANCE = 0.02
# On processors without VNNI its INT8 kernels clip sums of two products to 16 bits.
INT8_KERNELS_TOLERANCE = 0.05
QUANTIZED = "--quantized" in sys.argv


def run(model, values, optimize, outputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.type) == ("Input", "tensor(float)"), image
    return session.run(outputs, {"Input": values.reshape(-1, *image.shape[1:])})


def check(case):
    model = onnx.load(case / "model.onnx")
    facts = json.loads((case / "nms.json").read_text())
    shapes = {output.name: [dim.dim_value or dim.dim_param for dim in output.type.tensor_type.shape.dim]
              for output in model.graph.output}
    outputs = TAILS[model.graph.node[-1].op_type](model.graph, facts, shapes)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)

    values = numpy.fromfile(case / "input.f32", "<f4")
    if QUANTIZED:
        check_quantizers(case, model.graph)
        compare(case, run(model, values, False, outputs), QUANTIZED_TOLERANCE, middle=TOLERANCE)
        compare(case, run(model, values, True, outputs), INT8_KERNELS_TOLERANCE, middle=QUANTIZED_TOLERANCE)
    else:
        tolerance = HALF_TOLERANCE if facts["half"] else TOLERANCE
        boxes, scores, *selected = run(model, values, True, outputs)
        if selected:
            scores = scores.transpose(0, 2, 1)
            compare_detections(case, read(boxes, scores, selected[0], facts["keep_top_k"]), tolerance)
        compare(case, (boxes, scores), tolerance, middle=tolerance)
    print(f"ok {case.name}")


def batched(graph, facts, shapes):
    kept = facts["keep_top_k"]
    names = ["BatchedNMS", "BatchedNMS_1", "BatchedNMS_2", "BatchedNMS_3"]
    check_outputs(shapes, zip(names, ([1], [kept, 4], [kept], [kept])))
    wanted = {"shareLocation": 1, "backgroundLabelId": -1, "numClasses": facts["classes"], "topK": facts["top_k"],
              "keepTopK": kept, "isNormalized": 1, "clipBoxes": 1, "scoreBits": 0,
              "scoreThreshold": numpy.float32(facts["score_threshold"]),
              "iouThreshold": numpy.float32(facts["iou_threshold"])}
    return cut(graph, wanted, 4)


def efficient(graph, facts, shapes):
    kept = facts["keep_top_k"]
    names = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"]
    check_outputs(shapes, zip(names, ([1], [kept, 4], [kept], [kept])))
    above = {name: numpy.nextafter(numpy.float32(facts[name]), numpy.float32(2))
             for name in ("score_threshold", "iou_threshold")}
    wanted = {"max_output_boxes": kept, "background_class": -1, "score_activation": 0, "class_agnostic": 0,
              "box_coding": 0, **above}
    return cut(graph, wanted, 3)


def cut(graph, wanted, axes):
    """Takes a plugin off whose attributes are the wanted ones; returns the names of boxes and scores."""
    node = graph.node.pop()
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert found.pop("plugin_version") == b"1" and found.pop("plugin_namespace") == b"", found
    assert found == wanted, (found, wanted)
    del graph.output[:]
    for name in node.input:
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * axes))
    return list(node.input)


def standard(graph, facts, shapes):
    check_outputs({name: shape for name, shape in shapes.items() if name != "selected_indices"},
                  [("boxes", [facts["candidates"], 4]), ("scores", [facts["classes"], facts["candidates"]])])
    assert shapes["selected_indices"] == ["M", 3], shapes
    return ["boxes", "scores", "selected_indices"]


def raw(graph, facts, shapes):
    check_outputs(shapes, [("boxes", [facts["candidates"], 4]), ("scores", [facts["candidates"], facts["classes"]])])
    return ["boxes", "scores"]


TAILS = {"BatchedNMSDynamic_TRT": batched, "EfficientNMS_TRT": efficient, "NonMaxSuppression": standard, "Reshape": raw}


def check_outputs(found, wanted):
    assert {name: shape[1:] for name, shape in found.items()} == dict(wanted), found


def read(boxes, scores, selected, keep_top_k):
    """Detections from the rows that the standard node selects, as docs/formats/onnx.md says: best first, clipped."""
    found = []
    for image in range(len(boxes)):
        rows = [(image, c, scores[image, box, c], *boxes[image, box].clip(0, 1)) for n, c, box in selected if n == image]
        found += sorted(rows, key=lambda row: -row[2])[:keep_top_k]
    return found


def compare_detections(case, found, tolerance):
    """The same detections, in any order: equal scores may come in another."""
    wanted = numpy.fromfile(case / "detections.f32", "<f4").reshape(-1, 7)
    assert len(found) == len(wanted) > 0, f"{case.name}: {len(found)} selected, not {len(wanted)}"
    left = [numpy.array(row, "f4") for row in found]
    for row in wanted:
        distances = [numpy.abs(row - other).max() for other in left]
        best = int(numpy.argmin(distances))
        assert distances[best] <= tolerance, f"{case.name}: {row} is not selected"
        del left[best]


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
