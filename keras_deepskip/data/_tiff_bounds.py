"""Checks of what a TIFF declares in addition to its size, before it is decoded.

A TIFF's size is checked by its reader. But its description (OME, ImageJ), and each strip
or tile that is a JPEG or PNG of its own, also declare how many bytes it decodes to.
"""

import html
import math
import re

MAX_PAGES = 100_000
# Codecs of whole pictures that say their own size, in a way that is read here.
_JPEG, _JPEG_2000, _PNG = (6, 7, 33007, 34892), (33003, 33004, 33005, 34712), (34933,)
# Those that do not say it where it could be read without decoding: JPEG XR and JPEG XL.
_UNKNOWABLE = (22610, 34934, 50002, 52546)
_NO_SIZE_MARKERS = (0x01, *range(0xD0, 0xD9))  # JPEG markers without a length
_SIZE_MARKERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SLACK = 16  # pixels by which a JPEG may exceed its strip: its blocks are of 8 or 16


def check_metadata(file, most_bytes):
    """Refuses a TIFF whose pages or description declare too much, or name files elsewhere.

    Args:
        file: a `tifffile.TiffFile`.
        most_bytes: that the description may declare.

    Raises:
        ValueError: with the declared size.
    """
    if len(file.pages) > MAX_PAGES:
        raise ValueError(f"more than {MAX_PAGES} pages")
    text = html.unescape(file.pages[0].description or "")
    if file.is_ome:
        for block in re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text):
            sizes = [int(size) for size in re.findall(r"Size[XYZCT]\s*=\s*[\"'](\d+)", block)]
            _check_product(sizes, most_bytes)
        for name in re.findall(r"FileName\s*=\s*[\"']([^\"']*)", text):
            if re.search(r"[/\\]|^\w:|^\.\.?$", name):
                raise ValueError(f"an OME description that names a file elsewhere: {name!r}")
    elif file.is_imagej:
        counts = dict(re.findall(r"(?m)^(images|channels|slices|frames)=(\d+)", text))
        page = file.pages[0]
        for count in counts.values():
            _check_product([int(count), page.imagelength, page.imagewidth], most_bytes)
    elif file.is_shaped:
        for listed in re.findall(r"[\"']?shape[\"']?\s*[:=]\s*[\[(]([\d\s,]*)", text):
            _check_product([int(size) for size in re.findall(r"\d+", listed)], most_bytes)


def check_segments(file, series):
    """Refuses a TIFF of which a strip or tile is a picture larger than the strip or tile.

    Args:
        file: a `tifffile.TiffFile`.
        series: one of its series, compressed.

    Raises:
        ValueError: with the declared size.
    """
    page = series.keyframe
    kind = int(page.compression)
    if kind in _UNKNOWABLE:
        raise ValueError(
            f"compression {page.compression.name}, whose memory cannot be known before it is "
            "decoded; save it with another, such as deflate"
        )
    size_readers = {_JPEG: jpeg_size, _JPEG_2000: _jpeg_2000_size, _PNG: _png_size}
    read_size = next((read for kinds, read in size_readers.items() if kind in kinds), None)
    if read_size is None:
        return  # decoded into as many bytes as the page declares
    rows, columns = page.rowsperstrip, page.imagewidth
    if page.is_tiled:
        rows, columns = page.tilelength, page.tilewidth
    rows = min(rows, max(page.imagelength, page.tilelength))
    tables = jpeg_size(page.jpegtables) if kind in _JPEG and page.jpegtables else (0, 0)
    for each in series.pages:
        for offset, count in zip(each.dataoffsets, each.databytecounts, strict=False):
            file.filehandle.seek(offset)
            for height, width in (tables, read_size(file.filehandle.read(count))):
                if height > rows + _SLACK or width > columns + _SLACK:
                    raise ValueError(
                        f"a strip or tile of {rows} x {columns} pixels that declares {height} x "
                        f"{width} of its own"
                    )


def jpeg_size(data):
    """Returns `(height, width)` of a JPEG in bytes, (0, 0) where it says none before its pixels."""
    at, end = 2, len(data)
    while at < end:
        at = data.find(b"\xff", at)
        if at < 0:
            break
        while at < end and data[at] == 0xFF:  # any number of these come before a marker
            at += 1
        marker = data[at] if at < end else 0xDA
        if marker in (0xD9, 0xDA):  # the end, or the pixels
            break
        if marker == 0 or marker in _NO_SIZE_MARKERS:
            at += 1
            continue
        if marker in _SIZE_MARKERS:
            return _big(data[at + 4 : at + 6]), _big(data[at + 6 : at + 8])
        at += 1 + _big(data[at + 1 : at + 3])
    return 0, 0


def _jpeg_2000_size(data):
    if not data.startswith(b"\xff\x4f\xff\x51"):
        raise ValueError("a strip or tile of JPEG 2000 that begins as none does")
    right, bottom, left, top = (_big(data[at : at + 4]) for at in (8, 12, 16, 20))
    return bottom - top, right - left


def _png_size(data):
    width, height = (_big(data[at : at + 4]) for at in (16, 20))
    return height, width


def _check_product(sizes, most):
    if math.prod(sizes) > most:
        raise ValueError(
            f"a description that declares {' x '.join(map(str, sizes))} values, where at most "
            f"{most:,} bytes are read"
        )


def _big(data):
    return int.from_bytes(data, "big")
