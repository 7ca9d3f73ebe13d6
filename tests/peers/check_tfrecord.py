"""Checks TFRecords against TensorFlow: `check_tfrecord.py FOLDER`.

Reads `ours`, which oxidet wrote, with TensorFlow's own reader and parser and writes what it found to `ours.json`, one object per
record; writes `theirs`, the same frames as TensorFlow's writer makes them.
"""
import json
import pathlib
import sys

import tensorflow as tf

FLOATS = [
    "target/truncation",
    "target/observation_angle",
    *(f"target/coordinates_{corner}" for corner in ("x1", "y1", "x2", "y2")),
    *(f"target/world_bbox_{part}" for part in ("h", "w", "l", "x", "y", "z", "rot_y")),
]
FEATURES = {
    "frame/id": tf.io.FixedLenFeature([], tf.string),
    "frame/width": tf.io.FixedLenFeature([], tf.int64),
    "frame/height": tf.io.FixedLenFeature([], tf.int64),
    "target/object_class": tf.io.VarLenFeature(tf.string),
    "target/occlusion": tf.io.VarLenFeature(tf.int64),
    **{key: tf.io.VarLenFeature(tf.float32) for key in FLOATS},
}


def plain(value):
    if isinstance(value, tf.sparse.SparseTensor):
        value = tf.sparse.to_dense(value)
    value = value.numpy()
    if isinstance(value, bytes):
        return value.decode()
    return [part.decode() if isinstance(part, bytes) else part for part in value.tolist()] if value.ndim else value.item()


def feature(value):
    values = value if isinstance(value, list) else [value]
    if values and isinstance(values[0], str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode() for text in values]))
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


folder = pathlib.Path(sys.argv[1])
frames = []
for record in tf.data.TFRecordDataset(str(folder / "ours")):
    frames.append({key: plain(value) for key, value in tf.io.parse_single_example(record, FEATURES).items()})
(folder / "ours.json").write_text(json.dumps(frames))
with tf.io.TFRecordWriter(str(folder / "theirs")) as writer:
    for frame in frames:
        features = tf.train.Features(feature={key: feature(value) for key, value in frame.items()})
        writer.write(tf.train.Example(features=features).SerializeToString())
print(f"ok {len(frames)} records, TensorFlow {tf.__version__}")
