"""Writes awkward JPEG and PNG files into a folder, with what Pillow makes of their pixels.

usage: make_images.py FOLDER

`expected.json` lists for each file either its size, channels, depth and the raw file of its pixels, or that it must be refused.
"""

import io
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

folder = Path(sys.argv[1])
expected = []


def picture(width, height, channels, seed=0):
    """Smooth waves with an edge: what cameras give, more or less."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        127 + 80 * np.sin(x / (9 + 3 * c + seed)) * np.cos(y / (7 + c)) + 40 * (x > width // 2) for c in range(channels)
    ]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def good(name, data, pixels, tolerance=0):
    """`pixels` is [height, width, channels], 8 or 16 bits; `tolerance` is the mean difference that decoders may have."""
    (folder / name).write_bytes(data)
    (folder / f"{name}.raw").write_bytes(pixels.astype(pixels.dtype.newbyteorder("<")).tobytes())
    height, width, channels = pixels.shape
    expected.append(
        dict(file=name, width=width, height=height, channels=channels, depth=8 * pixels.dtype.itemsize, tolerance=tolerance)
    )


def bad(name, data):
    (folder / name).write_bytes(data)
    expected.append(dict(file=name))


def encode(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def as_network_sees(data):
    """Gray stays gray, everything else becomes RGB; alpha is dropped."""
    image = Image.open(io.BytesIO(data))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.mode == "LA":
        image = image.getchannel("L")
    elif image.mode == "RGBA":
        image = Image.merge("RGB", image.split()[:3])
    pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def jpeg(name, image, **options):
    data = encode(image, "JPEG", **options)
    good(name, data, as_network_sees(data), tolerance=0.6)
    return data


color = Image.fromarray(picture(123, 77, 3))
gray = Image.fromarray(picture(123, 77, 1)[..., 0])
jpeg("baseline.jpg", color, quality=90)
for sampling in range(3):
    jpeg(f"subsampling{sampling}.jpg", color, quality=95, subsampling=sampling)
    jpeg(f"progressive{sampling}.jpg", color, quality=80, progressive=True, subsampling=sampling)
jpeg("optimised.JPEG", color, optimize=True)
jpeg("restart.jpg", color, restart_marker_blocks=2)
jpeg("gray.jpg", gray)
jpeg("gray_progressive.jpg", gray, progressive=True)
jpeg("cmyk.jpg", color.convert("CMYK"), quality=95)
jpeg("comment.jpg", color, comment=b"x" * 60000)
exif = Image.Exif()
exif[0x0112] = 6
jpeg("rotated_by_exif.jpg", color, exif=exif)
jpeg("large_metadata.jpg", color, exif=exif, icc_profile=bytes(range(256)) * 1200)
for width, height in [(1, 1), (1, 200), (200, 1), (7, 9), (16, 16), (17, 33)]:
    jpeg(f"size_{width}x{height}.jpg", Image.fromarray(picture(width, height, 3)))
    data = encode(Image.fromarray(picture(width, height, 3)), "PNG")
    good(f"size_{width}x{height}.png", data, as_network_sees(data))
whole = jpeg("jpeg_called.png", color)
good("trailing_rubbish.jpg", whole + b"rubbish" * 20, as_network_sees(whole), tolerance=0.6)


def png(name, image, **options):
    data = encode(image, "PNG", **options)
    good(name, data, as_network_sees(data))
    return data


png("rgb.png", color)
png("gray.png", gray)
png("gray_alpha.png", Image.merge("LA", (gray, gray.point(lambda v: 255 - v))))
png("rgba.png", Image.merge("RGBA", (*color.split(), gray)))
png("one_bit.png", gray.convert("1"))
for bits in (1, 2, 4, 8):
    png(f"palette{bits}.png", color.quantize(2**bits), bits=bits)
png("palette_transparent.png", color.quantize(16), transparency=3)
png("gray_transparent.png", gray, transparency=100)
png("rgb_transparent.png", color, transparency=(1, 2, 3))
png("uncompressed.PNG", color, compress_level=0)
data = encode(color, "PNG")
good("png_called.jpg", data, as_network_sees(data))
good("after_the_end.png", data + b"\0" * 100, as_network_sees(data))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(pixels, color_type, depth, interlaced=False, width=None, height=None):
    """What Pillow does not write. `pixels` is [height, width, bytes per pixel]."""
    rows, columns = pixels.shape[:2]
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    lines = b""
    for y, x, dy, dx in passes:
        part = pixels[y::dy, x::dx]
        if part.size:
            lines += b"".join(b"\0" + row.tobytes() for row in part)
    head = struct.pack(">IIBBBBB", width or columns, height or rows, depth, color_type, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


good("interlaced.png", raw_png(picture(123, 77, 3), 2, 8, True), picture(123, 77, 3))
good("interlaced_3x2.png", raw_png(picture(3, 2, 1), 0, 8, True), picture(3, 2, 1))
deep = (picture(123, 77, 1).astype(np.uint16) * 250 + np.arange(123, dtype=np.uint16)[:, None]).astype(np.uint16)
big_endian = deep.astype(">u2").view(np.uint8).reshape(77, 123, 2)
good("gray16.png", raw_png(big_endian, 0, 16), deep)
good("gray16_interlaced.png", raw_png(big_endian, 0, 16, True), deep)
good("gray16_pillow.png", encode(Image.fromarray(deep[..., 0]), "PNG"), deep)
deep3 = np.concatenate([deep, deep // 2, 65535 - deep], -1)
good("rgb16.png", raw_png(deep3.astype(">u2").view(np.uint8).reshape(77, 123, 6), 2, 16), deep3)

# Not images, other formats, damage, and lies about the size.
bad("empty.jpg", b"")
bad("text.png", b"this is a text\n" * 30)
bad("gif.jpg", encode(color.quantize(8), "GIF"))
bad("bmp.png", encode(color, "BMP"))
bad("tiff.png", encode(color, "TIFF"))
bad("zeros.png", bytes(5000))
bad("magic_only.jpg", b"\xff\xd8\xff")
bad("magic_only.png", b"\x89PNG\r\n\x1a\n")
for share in (10, 50, 90):
    bad(f"cut_{share}.jpg", whole[: len(whole) * share // 100])
    bad(f"cut_{share}.png", data[: len(data) * share // 100])
flipped = bytearray(data)
flipped[len(data) // 2] ^= 0xFF
bad("flipped_bit.png", bytes(flipped))
bad("no_pixels.png", raw_png(np.zeros((0, 0, 3), np.uint8), 2, 8, width=0, height=0))
bad("bomb.png", raw_png(picture(4, 4, 3), 2, 8, width=2**31 - 1, height=2**31 - 1))
bad("wide_bomb.png", raw_png(picture(4, 4, 3), 2, 8, width=60000, height=60000))
bad("short_lines.png", raw_png(picture(4, 4, 3), 2, 8, width=400, height=400))
frame = whole.index(b"\xff\xc0")
bad("bomb.jpg", whole[: frame + 5] + b"\xff\xff\xff\xff" + whole[frame + 9 :])
bad("no_tables.jpg", whole[:2] + whole[whole.index(b"\xff\xc0") :])

(folder / "expected.json").write_text(json.dumps(expected, indent=1))
print(len(expected), "files")
