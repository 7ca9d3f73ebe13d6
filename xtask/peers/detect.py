"""Detects in a folder of JPEGs with OpenCV, onnxruntime and NumPy: `detect.py JOB`, a JSON file.

The job names the model (boxes and scores are its outputs), the images, the size of the canvas, the means, the settings of suppression, the
threads and the file for detections, a JSON line each. Prints seconds and the mean milliseconds of each stage as JSON; loading is not
counted.
"""
import json
import pathlib
import sys
import time

import cv2
import numpy
import onnxruntime

job = json.loads(pathlib.Path(sys.argv[1]).read_text())
width, height, nms = job["width"], job["height"], job["nms"]
mean = numpy.array(job["mean"], numpy.float32)
cv2.setNumThreads(job["threads"])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = job["threads"]
session = onnxruntime.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
(name,) = [value.name for value in session.get_inputs()]


def letterbox(image):
    h, w = image.shape[:2]
    scale = min(height / h, width / w)
    fit_w, fit_h = round(w * scale), round(h * scale)
    canvas = numpy.empty((height, width, 3), numpy.uint8)
    canvas[:] = numpy.round(image.mean(axis=(0, 1)))
    left, top = (width - fit_w) // 2, (height - fit_h) // 2
    canvas[top : top + fit_h, left : left + fit_w] = cv2.resize(image, (fit_w, fit_h))
    return numpy.ascontiguousarray((canvas.astype(numpy.float32) - mean).transpose(2, 0, 1))[None], (left, top, fit_w, fit_h)


def suppress(boxes, scores):
    """What the plugin does, as one writes it in NumPy."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    found = []
    for cls in range(scores.shape[1]):
        passing = numpy.flatnonzero(scores[:, cls] > nms["score_threshold"])
        order = passing[numpy.argsort(-scores[passing, cls], kind="stable")][: nms["top_k"]]
        while order.size:
            best, rest = order[0], order[1:]
            found.append((scores[best, cls], cls, best))
            low = numpy.maximum(boxes[best, :2], boxes[rest, :2])
            high = numpy.minimum(boxes[best, 2:], boxes[rest, 2:])
            inter = numpy.prod(numpy.clip(high - low, 0, None), axis=1)
            order = rest[inter / (areas[best] + areas[rest] - inter) <= nms["iou_threshold"]]
    found.sort(key=lambda each: -each[0])
    return found[: nms["keep_top_k"]]


def run(paths, out):
    stages = numpy.zeros(4)
    started = time.perf_counter()
    for path in paths:
        t0 = time.perf_counter()
        image = cv2.imread(path)
        t1 = time.perf_counter()
        tensor, (left, top, fit_w, fit_h) = letterbox(image)
        t2 = time.perf_counter()
        boxes, scores = session.run(["boxes", "scores"], {name: tensor})
        t3 = time.perf_counter()
        objects = []
        for score, cls, at in suppress(boxes[0], scores[0]):
            box = numpy.clip(boxes[0, at], 0, 1) * [width, height, width, height] - [left, top, left, top]
            box = box / [fit_w, fit_h, fit_w, fit_h] * [image.shape[1], image.shape[0], image.shape[1], image.shape[0]]
            objects.append({"class": int(cls), "score": float(score), "box": [round(float(v), 2) for v in box]})
        out.write(json.dumps({"image": path, "objects": objects}) + "\n")
        stages += [t1 - t0, t2 - t1, t3 - t2, time.perf_counter() - t3]
    return time.perf_counter() - started, stages / len(paths) * 1e3


with open(job["output"], "w") as out:
    run(job["images"][:3], out)
    seconds, stages = run(job["images"], out)
print(json.dumps({"seconds": seconds, "stages_ms": list(stages)}))
