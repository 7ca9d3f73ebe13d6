"""Checks exported models: `check_onnx.py FOLDER`, one case per sub-folder.

A case holds model.onnx, input.f32, boxes.f32 and scores.f32 (little-endian floats; what oxidet computes). The suppression node
is a TensorRT plugin that neither onnx nor onnxruntime knows, so the model is cut before it: onnx checks and runs shape inference
on the rest, onnxruntime runs it.
"""
import pathlib
import sys

import numpy
import onnx
import onnxruntime

BOXES, SCORES = "box/concat_concat", "cls/mul"
TOLERANCE = 1e-4


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

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert image.name == "Input", image.name
    values = numpy.fromfile(case / "input.f32", "<f4").reshape(-1, *image.shape[1:])
    boxes, scores = session.run([BOXES, SCORES], {"Input": values})
    worst = []
    for found, name in ((boxes, "boxes.f32"), (scores, "scores.f32")):
        wanted = numpy.fromfile(case / name, "<f4")
        assert found.size == wanted.size, (found.shape, wanted.size)
        # Sizes can reach thousands of canvases; their rounding is relative.
        difference = numpy.abs(found.ravel() - wanted) / numpy.maximum(1, numpy.abs(wanted))
        worst.append(float(difference.max()))
        assert worst[-1] <= TOLERANCE, f"{case.name}: {name} differs by {worst[-1]}"
    print(f"ok {case.name}: boxes {worst[0]:.1e}, scores {worst[1]:.1e}")


for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    check(folder)
