"""Times class-wise suppression of the same numbers: `nms.py BOXES SCORES CLASSES IOU SCORE ROUNDS`, raw float32 files.

Prints JSON: the median seconds of torchvision's `batched_nms`, and how many boxes it keeps; of NumPy's, where torchvision is not there.
"""
import json
import statistics
import sys
import time

import numpy

boxes = numpy.fromfile(sys.argv[1], "<f4").reshape(-1, 4)
classes = int(sys.argv[3])
scores = numpy.fromfile(sys.argv[2], "<f4").reshape(-1, classes)
iou, threshold, rounds = float(sys.argv[4]), float(sys.argv[5]), int(sys.argv[6])

import torch
import torchvision

torch.set_num_threads(1)
all_boxes, all_scores = torch.from_numpy(boxes), torch.from_numpy(scores)


def suppress():
    box, cls = torch.nonzero(all_scores > threshold, as_tuple=True)
    return torchvision.ops.batched_nms(all_boxes[box], all_scores[box, cls], cls, iou)


suppress()
times = []
for _ in range(rounds):
    started = time.perf_counter()
    kept = suppress()
    times.append(time.perf_counter() - started)
print(json.dumps({"seconds": statistics.median(times), "kept": len(kept), "version": torchvision.__version__}))
