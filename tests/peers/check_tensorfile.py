"""Checks tensorfiles against h5py: `check_tensorfile.py FOLDER`.

Reads `ours`, which oxidet wrote, and writes its batches to `ours.f64`, one after the other; writes `theirs`, the same batches as TAO's
TensorFile makes them.
"""
import pathlib
import sys

import h5py
import numpy as np

KEY = "_tensorfile_array_key_"

folder = pathlib.Path(sys.argv[1])
with h5py.File(folder / "ours", "r") as ours:
    batches = [ours[f"{KEY}_{i}"][KEY] for i in range(ours.attrs["count"])]
    assert all(batch.dtype == np.float64 and batch.compression == "gzip" for batch in batches)
    batches = [batch[()] for batch in batches]
(folder / "ours.f64").write_bytes(b"".join(batch.astype("<f8").tobytes() for batch in batches))
with h5py.File(folder / "theirs", "w") as theirs:
    for i, batch in enumerate(batches):
        theirs.create_group(f"{KEY}_{i}").create_dataset(KEY, data=batch, compression="gzip")
        theirs.attrs["count"] = i + 1
print(f"ok {len(batches)} batches of shape {list(batches[0].shape)}, h5py {h5py.__version__}")
