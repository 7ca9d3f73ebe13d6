"""Makes sample.onnx with the onnx package (pip install onnx): the model of tests.rs, written by somebody else."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

nodes = [
    helper.make_node("Conv", ["Input", "w"], ["y"], "conv"),
    helper.make_node("BatchedNMSDynamic_TRT", ["y", ""], ["BatchedNMS"], "BatchedNMS_N"),
]
# make_node sorts attributes by name; a list keeps the order of the Rust test.
attributes = [
    {"pads": [0, 0, 0, 0], "group": 1},
    {
        "backgroundLabelId": -1,
        "scoreBits": 0,
        "iouThreshold": 0.5,
        "scales": [1.0, 2.0],
        "plugin_version": "1",
        "value": numpy_helper.from_array(np.array([7], np.int64)),
    },
]
for node, values in zip(nodes, attributes):
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())

graph = helper.make_graph(
    nodes,
    "g",
    [helper.make_tensor_value_info("Input", TensorProto.FLOAT, ["N", 2, 4, 4])],
    [helper.make_tensor_value_info("BatchedNMS", TensorProto.INT32, None)],
    [
        numpy_helper.from_array(np.array([0.25, -1.0], np.float32).reshape(1, 2, 1, 1), "w"),
        numpy_helper.from_array(np.array([1, -1], np.int64), "shape"),
    ],
)
model = helper.make_model(graph, opset_imports=[onnx.OperatorSetIdProto(version=12)], producer_name="oxidet", ir_version=8)
helper.set_model_props(model, {"oxidet.arch": "resnet"})
with open("sample.onnx", "wb") as file:
    file.write(model.SerializeToString(deterministic=True))
