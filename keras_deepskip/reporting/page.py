"""One HTML page that holds all of its pictures, to open in a browser or to send to a colleague."""

import base64
import html
import io

import numpy as np

from keras_deepskip import _files

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
pre { background: #f5f5f3; padding: 1rem; overflow-x: auto; font-size: 14px; line-height: 1.35; }
figure { margin: 1rem 0; } figcaption { color: #555; font-size: 14px; }
img { max-width: 100%; image-rendering: pixelated; border: 1px solid #ddd; }
"""


class Page:
    """An HTML page that is put together piece by piece and written whole.

    Args:
        title: heading of the page.

    Example:

    >>> page = Page("Cells")
    >>> page.add_heading("Data")
    >>> page.add_text("Forty images.")
    >>> "<h2>Data</h2>" in page.html()
    True
    """

    def __init__(self, title):
        self.title = title
        self.parts = []

    def add_heading(self, text):
        """Begins a section."""
        self.parts.append(f"<h2>{html.escape(text)}</h2>")

    def add_text(self, text):
        """Adds a paragraph."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    def add_block(self, text):
        """Adds text unchanged, such as a table or a command."""
        self.parts.append(f"<pre>{html.escape(text)}</pre>")

    def add_picture(self, picture, caption, zoom=1):
        """Adds a picture: an RGB array (H, W, 3) uint8, or the bytes of a PNG.

        Args:
            picture: the array or the bytes.
            caption: what it shows.
            zoom: whole number of times it is upsampled, each pixel to a square.
        """
        if not isinstance(picture, bytes):
            upsampled = np.repeat(np.repeat(picture, zoom, axis=0), zoom, axis=1)
            picture = _png(upsampled)
        data = base64.b64encode(picture).decode("ascii")
        text = html.escape(caption)
        self.parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{text}">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def html(self):
        """The page as text."""
        title = html.escape(self.title)
        body = "\n".join(self.parts)
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
        )

    def write(self, path):
        """Writes the page to `path`, whole or not at all."""
        _files.write_text(path, self.html())


def _png(array):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG")
    return buffer.getvalue()
