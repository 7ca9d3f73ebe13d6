"""The original's clustering of box sizes, in NumPy: one run from one random start.

    python kmeans.py BOXES CLUSTERS SEED RUNS

BOXES holds float32 pairs (width, height). Prints a line of JSON with the milliseconds of every run, its steps, and the mean best
IoU of its anchors.
"""

import json
import sys
import time

import numpy as np


def iou(boxes, areas, centres):
    """[boxes, centres]; all share one corner."""
    shared = np.minimum(boxes[:, 0, None], centres[:, 0])
    shared *= np.minimum(boxes[:, 1, None], centres[:, 1])
    union = areas[:, None] + centres.prod(axis=1)
    union -= shared
    shared /= union
    return shared


def kmeans(boxes, clusters, rng, max_steps=10000):
    distinct = np.unique(boxes, axis=0)
    centres = distinct[rng.choice(len(distinct), clusters, replace=False)]
    areas = boxes.prod(axis=1)
    assignment = np.zeros(len(boxes), np.intp)
    steps = 0
    while steps < max_steps:
        nearest = iou(boxes, areas, centres).argmax(axis=1)
        if np.array_equal(nearest, assignment):
            break
        for cluster in range(clusters):
            centres[cluster] = np.median(boxes[nearest == cluster], axis=0)
        assignment = nearest
        steps += 1
    return centres, steps


def main():
    path, clusters, seed, runs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    # The original computes in double precision.
    boxes = np.fromfile(path, np.float32).reshape(-1, 2).astype(np.float64)
    times, steps, fits = [], [], []
    for run in range(runs):
        rng = np.random.default_rng(seed + run)
        start = time.perf_counter()
        centres, count = kmeans(boxes, clusters, rng)
        times.append(1e3 * (time.perf_counter() - start))
        steps.append(count)
        fits.append(float(iou(boxes, boxes.prod(axis=1), centres).max(axis=1).mean()))
    print(json.dumps({"version": f"NumPy {np.__version__}", "ms": times, "steps": steps, "mean_best_iou": fits}))


if __name__ == "__main__":
    main()
