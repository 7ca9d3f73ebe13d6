"""Calibrates with onnxruntime: `calibrate_onnx.py MODEL INPUTS REPORT [OURS]`.

MODEL ends in the suppression node, which is cut off. INPUTS holds the input tensors as little-endian floats. REPORT gets seconds and
peak memory. OURS is the report of our contestant: the counts in it, mirrored, are given to onnxruntime's search for the
entropy threshold.
"""
import contextlib
import io
import json
import pathlib
import resource
import sys
import tempfile
import time

import numpy
import onnx
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, HistogramCollector, create_calibrator

LEVELS = 128

model_path, inputs_path, report_path, *ours_path = map(pathlib.Path, sys.argv[1:])
model = onnx.load(model_path)
del model.graph.node[-1]
del model.graph.output[:]
for name in ("box/concat_concat", "cls/mul"):
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4))
shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
inputs = numpy.memmap(inputs_path, "<f4", "r").reshape(-1, 1, *shape)


class Images(CalibrationDataReader):
    def __init__(self):
        self.images = iter(inputs)

    def get_next(self):
        image = next(self.images, None)
        return None if image is None else {"Input": numpy.asarray(image)}


with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    cut = f"{folder}/cut.onnx"
    onnx.save(model, cut)
    start = time.perf_counter()
    options = {"symmetric": True}
    augmented = f"{folder}/augmented.onnx"
    operators = sorted({node.op_type for node in model.graph.node})
    calibrator = create_calibrator(cut, operators, augmented, CalibrationMethod.Entropy, extra_options=options)
    calibrator.collect_data(Images())
    calibrator.compute_data()
    seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
report_path.write_text(json.dumps({"seconds": seconds, "peak_mb": peak}))

if not ours_path:
    sys.exit()
collector = HistogramCollector("entropy", True, 0, 2 * LEVELS, 0, "same")
near = far = 0
for tensor in json.loads(ours_path[0].read_text())["tensors"]:
    width, counts = tensor["width"], numpy.array(tensor["counts"], dtype=numpy.int64)
    if width == 0:
        continue
    mirrored = numpy.concatenate([counts[::-1], counts])
    edges = (numpy.arange(len(mirrored) + 1) - len(counts)) * width
    largest = numpy.float64(len(counts) * width)
    with contextlib.redirect_stdout(io.StringIO()):
        _, threshold = collector.get_entropy_threshold((mirrored, edges, -largest, largest), 2 * LEVELS)
    bins = abs(threshold - tensor["amax"]) / width
    near, far = (near + 1, far) if bins <= 1.01 else (near, far + 1)
    if bins > 1.01:
        print(f"{tensor['name']}: {tensor['amax'] / width:.1f} bins of {len(counts)}, theirs {threshold / width:.1f}", flush=True)
print(f"entropy from the same counts: {near} of {near + far} tensors within one bin")
