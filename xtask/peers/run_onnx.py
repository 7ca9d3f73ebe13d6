"""Runs an exported model: `run_onnx.py MODEL`.

Reads batches from stdin, a little-endian 32-bit number of images followed by their values `[N, C, H, W]`, and writes boxes
`[N, B, 4]` and scores `[N, B, K]` to stdout, each as a 32-bit count of bytes and the bytes. The suppression node, which only
TensorRT knows, is cut off.
"""
import struct
import sys

import numpy
import onnx
import onnxruntime

BOXES, SCORES = "box/concat_concat", "cls/mul"

model = onnx.load(sys.argv[1])
del model.graph.node[-1]
del model.graph.output[:]
for name in (BOXES, SCORES):
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
shape = session.get_inputs()[0].shape[1:]
while head := sys.stdin.buffer.read(4):
    (images,) = struct.unpack("<I", head)
    values = numpy.frombuffer(sys.stdin.buffer.read(4 * images * int(numpy.prod(shape))), "<f4")
    for output in session.run([BOXES, SCORES], {"Input": values.reshape(images, *shape)}):
        content = output.astype("<f4").tobytes()
        sys.stdout.buffer.write(struct.pack("<I", len(content)) + content)
    sys.stdout.buffer.flush()
