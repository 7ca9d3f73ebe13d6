"""COCO average precision by pycocotools.

    python coco_eval.py FOLDER...

Each folder holds truths.json and detections.json as `oxidet evaluate --results_dir` writes them. Prints a line of JSON: the version,
and for each folder the twelve numbers of `summarize`, AP50:95, AP50 and AP75 of each class, and the milliseconds of `evaluate` and
`accumulate`.
"""

import contextlib
import importlib.metadata
import json
import os
import sys
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def mean(values):
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0


def measure(folder):
    truths = COCO(os.path.join(folder, "truths.json"))
    detections = os.path.join(folder, "detections.json")
    with open(detections) as file:
        empty = not json.load(file)
    if empty:
        # `loadRes` fails without detections.
        found = COCO()
        found.dataset = {**truths.dataset, "annotations": []}
        found.createIndex()
    else:
        found = truths.loadRes(detections)
    evaluation = COCOeval(truths, found, "bbox")
    start = time.perf_counter()
    evaluation.evaluate()
    evaluation.accumulate()
    ms = 1e3 * (time.perf_counter() - start)
    evaluation.summarize()
    # [thresholds, recall levels, classes, areas, numbers of detections]
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = [
        [mean(precision[:, :, k]), mean(precision[0, :, k]), mean(precision[5, :, k])] for k in range(precision.shape[2])
    ]
    return {"statistics": [float(x) for x in evaluation.stats], "per_class": per_class, "ms": ms}


def main():
    with contextlib.redirect_stdout(sys.stderr):
        results = [measure(folder) for folder in sys.argv[1:]]
    version = f"pycocotools {importlib.metadata.version('pycocotools')}, NumPy {np.__version__}"
    print(json.dumps({"version": version, "folders": results}))


if __name__ == "__main__":
    main()
