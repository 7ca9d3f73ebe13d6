"""A training loader as a good Python programmer writes it: OpenCV, worker processes, batches through shared memory.

    python loader.py FOLDER --batches N [--seed S] [--workers 2] [--cache]

FOLDER has images/ and labels/ (KITTI). The work per image is the sequence loader's, with its colours put right: with probability
0.5 a mosaic of four random crops, else one image; HSV, flips, jitter on the image's mean, bilinear resize to 416x416, boxes
clipped and filtered, BGR minus mean, float32 [8, 3, 416, 416]. Every use reads the file again, as the original does; --cache
keeps decoded images in the memory of each worker. Prints a line of JSON with the images a second after a warm-up.
"""

import argparse
import json
import math
import multiprocessing as mp
import os
import time
from multiprocessing import shared_memory

import cv2
import numpy as np

BATCH, SIZE = 8, 416
HUE, SATURATION, EXPOSURE = 0.1, 1.5, 1.5
VERTICAL_FLIP, HORIZONTAL_FLIP, JITTER = 0.5, 0.5, 0.3
MOSAIC, MOSAIC_MIN = 0.5, 0.2
MIN_SIDE = 0.001
MEAN = np.array([103.939, 116.779, 123.68], np.float32)
WARM_UP = 4  # batches
MOST_BOXES = 512  # of an image


def read_labels(path):
    with open(path) as lines:
        boxes = [[0.0, *map(float, line.split()[4:8])] for line in lines if line.strip()]
    return np.array(boxes, np.float32).reshape(-1, 5)


def keep(boxes):
    """Clips boxes [class, x1, y1, x2, y2] to the canvas and drops slivers."""
    np.clip(boxes[:, 1:], 0, 1, out=boxes[:, 1:])
    return boxes[(boxes[:, 3:] - boxes[:, 1:3] > MIN_SIDE).all(axis=1)]


def move(boxes, width, height, left, top, new_width, new_height):
    """Boxes of an image as boxes of the part of it that starts at (left, top)."""
    boxes[:, 1::2] = (boxes[:, 1::2] * width - left) / new_width
    boxes[:, 2::2] = (boxes[:, 2::2] * height - top) / new_height
    return boxes


def factor(most, rng):
    value = 1 + rng.random() * (most - 1)
    return 1 / value if rng.random() < 0.5 else value


def colour(image, rng):
    """Shifts hue, scales saturation and value; image is float32 BGR in [0, 1]."""
    saturation, value = factor(SATURATION, rng), factor(EXPOSURE, rng)
    shift = rng.uniform(-1, 1) * HUE * 180
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV, dst=image)
    # OpenCV takes hues above 360 round the circle, those below 0 it does not.
    change = np.array([[1, 0, 0, shift % 360], [0, saturation, 0, 0], [0, 0, value, 0]], np.float32)
    cv2.transform(hsv, change, dst=hsv)
    cv2.min(hsv, (720, 1, 1, 0), dst=hsv)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR, dst=hsv)


def flip(image, boxes, rng):
    vertical, horizontal = rng.random() < VERTICAL_FLIP, rng.random() < HORIZONTAL_FLIP
    if vertical:
        boxes[:, [2, 4]] = 1 - boxes[:, [4, 2]]
    if horizontal:
        boxes[:, [1, 3]] = 1 - boxes[:, [3, 1]]
    if vertical or horizontal:
        image = cv2.flip(image, -1 if vertical and horizontal else int(horizontal))
    return image, boxes


def repair(low, high, delta, across):
    """Takes padding from the long axis, `delta` px longer than the input's aspect of 1 wants; the rest is added across."""
    shrink = min(-min(low, 0), -min(high, 0), delta / 2)
    low, high, delta = low + shrink, high + shrink, delta - 2 * shrink
    if low < 0 < delta:
        step = min(delta, -low)
        low, delta = low + step, delta - step
    if high < 0 < delta:
        step = min(delta, -high)
        high, delta = high + step, delta - step
    pad = max(delta, 0) / 2
    return low, high, across[0] - pad, across[1] - pad


def jitter(image, boxes, rng):
    """Cuts or pads every side at random; pads with the mean of the image."""
    height, width = image.shape[:2]
    left, top, right, bottom = rng.uniform(-JITTER, JITTER, 4) * (width, height, width, height)
    if width > height:
        left, right, top, bottom = repair(left, right, width - height, (top, bottom))
    else:
        top, bottom, left, right = repair(top, bottom, height - width, (left, right))
    x0, y0 = round(left), round(top)
    new_width, new_height = round(width - left - right), round(height - top - bottom)
    cut = image[max(y0, 0) : y0 + new_height, max(x0, 0) : x0 + new_width]
    if x0 < 0 or y0 < 0 or x0 + new_width > width or y0 + new_height > height:
        canvas = np.empty((new_height, new_width, 3), np.float32)
        canvas[:] = cv2.mean(image)[:3]
        y, x = max(-y0, 0), max(-x0, 0)
        canvas[y : y + cut.shape[0], x : x + cut.shape[1]] = cut
        cut = canvas
    return cut, keep(move(boxes, width, height, x0, y0, new_width, new_height))


def crop(image, boxes, aspect, rng):
    height, width = image.shape[:2]
    share = rng.uniform(1 - JITTER, 1)
    if width / height > aspect:
        new_height = round(height * share)
        new_width = round(new_height * aspect)
    else:
        new_width = round(width * share)
        new_height = round(new_width / aspect)
    new_width, new_height = max(1, min(new_width, width)), max(1, min(new_height, height))
    top, left = rng.integers(0, height - new_height + 1), rng.integers(0, width - new_width + 1)
    boxes = keep(move(boxes, width, height, left, top, new_width, new_height))
    return image[top : top + new_height, left : left + new_width], boxes


class Loader:
    """Makes images of one worker."""

    def __init__(self, folder, cache, seed):
        images = os.path.join(folder, "images")
        self.paths = [os.path.join(images, name) for name in sorted(os.listdir(images))]
        stems = [os.path.splitext(os.path.basename(path))[0] for path in self.paths]
        self.labels = [read_labels(os.path.join(folder, "labels", f"{stem}.txt")) for stem in stems]
        self.cache = [None] * len(self.paths) if cache else None
        self.rng = np.random.default_rng(seed)
        self.canvas = np.empty((SIZE, SIZE, 3), np.float32)

    def read(self, index):
        if self.cache is None:
            return cv2.imread(self.paths[index], cv2.IMREAD_COLOR)
        if self.cache[index] is None:
            self.cache[index] = cv2.imread(self.paths[index], cv2.IMREAD_COLOR)
        return self.cache[index]

    def prepare(self, index):
        """An image in float32 [0, 1], coloured and flipped, with its boxes in shares."""
        pixels = self.read(index)
        image = np.empty(pixels.shape, np.float32)
        np.multiply(pixels, np.float32(1 / 255), out=image, casting="unsafe")
        boxes = self.labels[index].copy()
        height, width = pixels.shape[:2]
        boxes[:, 1:] /= (width, height, width, height)
        return flip(colour(image, self.rng), boxes, self.rng)

    def plain(self, index):
        image, boxes = jitter(*self.prepare(index), self.rng)
        cv2.resize(image, (SIZE, SIZE), dst=self.canvas, interpolation=cv2.INTER_LINEAR)
        return boxes

    def mosaic(self, index):
        low, high = math.floor(SIZE * MOSAIC_MIN), math.floor(SIZE * (1 - MOSAIC_MIN))
        y, x = self.rng.integers(low, high + 1), self.rng.integers(low, high + 1)
        tiles = [(0, 0, x, y), (x, 0, SIZE, y), (0, y, x, SIZE), (x, y, SIZE, SIZE)]
        indices = [index, *self.rng.integers(0, len(self.paths), 3)]
        found = []
        for (x1, y1, x2, y2), source in zip(tiles, indices):
            width, height = int(x2 - x1), int(y2 - y1)
            image, boxes = crop(*self.prepare(source), width / height, self.rng)
            self.canvas[y1:y2, x1:x2] = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            boxes[:, 1::2] = (boxes[:, 1::2] * width + x1) / SIZE
            boxes[:, 2::2] = (boxes[:, 2::2] * height + y1) / SIZE
            found.append(boxes)
        return keep(np.concatenate(found))

    def fill(self, index, tensor):
        """Makes one training image in `tensor`, [3, 416, 416]; returns its boxes."""
        boxes = self.mosaic(index) if self.rng.random() < MOSAIC else self.plain(index)
        for channel in range(3):
            np.multiply(self.canvas[..., channel], np.float32(255), out=tensor[channel])
            tensor[channel] -= MEAN[channel]
        return boxes


def work(folder, cache, seed, name, slots, tasks, free, done):
    cv2.setNumThreads(1)
    loader = Loader(folder, cache, seed)
    memory = shared_memory.SharedMemory(name)
    tensors, boxes, counts = views(memory, slots)
    while (indices := tasks.get()) is not None:
        slot = free.get()
        for place, index in enumerate(indices):
            found = loader.fill(index, tensors[slot, place])[:MOST_BOXES]
            boxes[slot, place, : len(found)] = found
            counts[slot, place] = len(found)
        done.put(slot)
    del tensors, boxes, counts
    memory.close()


def views(memory, slots):
    shapes = [(slots, BATCH, 3, SIZE, SIZE), (slots, BATCH, MOST_BOXES, 5), (slots, BATCH)]
    arrays, offset = [], 0
    for shape, kind in zip(shapes, (np.float32, np.float32, np.int32)):
        arrays.append(np.ndarray(shape, kind, memory.buf, offset))
        offset += 4 * math.prod(shape)
    return arrays


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--batches", type=int, required=True)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", action="store_true")
    args = parser.parse_args()

    slots = 2 * args.workers
    size = 4 * slots * BATCH * (3 * SIZE * SIZE + 5 * MOST_BOXES + 1)
    memory = shared_memory.SharedMemory(create=True, size=size)
    tasks, free, done = mp.Queue(), mp.Queue(), mp.Queue()
    for slot in range(slots):
        free.put(slot)
    seeds = np.random.SeedSequence(args.seed).spawn(args.workers + 1)
    rng = np.random.default_rng(seeds[-1])
    count = len(os.listdir(os.path.join(args.folder, "images")))
    # With a cache the warm-up is a pass over the data, so that most images are there.
    warm_up = WARM_UP + (2 * args.workers * math.ceil(count / BATCH) if args.cache else 0)
    order = []
    for _ in range(warm_up + args.batches):
        while len(order) < BATCH:
            order.extend(rng.permutation(count).tolist())
        tasks.put([order.pop() for _ in range(BATCH)])
    workers = []
    for seed in seeds[:-1]:
        tasks.put(None)
        parameters = (args.folder, args.cache, seed, memory.name, slots, tasks, free, done)
        workers.append(mp.Process(target=work, args=parameters))
    for worker in workers:
        worker.start()

    tensors, boxes, counts = views(memory, slots)
    found, start = 0, 0.0
    for number in range(warm_up + args.batches):
        if number == warm_up:
            start, found = time.perf_counter(), 0
        slot = done.get()
        found += int(counts[slot].sum())
        assert np.isfinite(tensors[slot, 0, 0, 0, 0])
        free.put(slot)
    seconds = time.perf_counter() - start
    for worker in workers:
        worker.join()
    del tensors, boxes, counts
    memory.close()
    memory.unlink()
    images = args.batches * BATCH
    result = {"version": f"OpenCV {cv2.__version__}", "ips": images / seconds, "boxes_per_image": found / images}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
