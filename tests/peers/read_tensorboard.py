"""Reads event files as TensorBoard does: `read_tensorboard.py LOGS OUT`.

Writes to `OUT` what each run below `LOGS` shows, as JSON: of scalars and histograms the steps and values, of images the steps and
what the PNG decodes to.
"""
import io
import json
import pathlib
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = {"scalars": 0, "images": 0, "histograms": 0, "compressedHistograms": 0}


def picture(event):
    image = Image.open(io.BytesIO(event.encoded_image_string))
    image.load()
    return {"size": [event.width, event.height], "png": list(image.size), "colors": len(set(image.getdata()))}


def distribution(value):
    counts = [value.num, sum(value.bucket), len(value.bucket) - len(value.bucket_limit)]
    return {"counts": counts, "range": [value.min, value.max], "sums": [value.sum, value.sum_squares]}


logs, out = map(pathlib.Path, sys.argv[1:])
shown = {}
for run in [".", "batches"]:
    events = EventAccumulator(str(logs / run), size_guidance=EVERYTHING)
    events.Reload()
    tags = events.Tags()
    shown[run] = {
        "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
        "images": {tag: [[e.step, picture(e)] for e in events.Images(tag)] for tag in tags["images"]},
        "histograms": {
            tag: [[e.step, distribution(e.histogram_value)] for e in events.Histograms(tag)]
            for tag in tags["histograms"]
        },
    }
out.write_text(json.dumps(shown))
