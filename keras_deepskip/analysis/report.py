"""The table of a network's parts: what each holds, costs and sees."""

import dataclasses
import re

from keras_deepskip._tables import markdown_table
from keras_deepskip.analysis.costs import conv_parameters, count_weights
from keras_deepskip.analysis.traces import by_part, spatial_sizes, trace
from keras_deepskip.analysis.views import widest_field


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The table of `analyze`: one row a part of the network.

    Attributes:
        rows: lists in the order of `HEADERS`.
        sizes: (H, W) of the image or (D, H, W) of the volume that the multiply-adds are for.
        seen: the receptive field of the output, its side in pixels or `"whole image"`.
    """

    rows: list
    sizes: tuple
    seen: int | str

    HEADERS = ("part", "closed form", "kernels", "parameters", "MACs", "receptive field")

    @property
    def total(self):
        """The last row: sums, and the receptive field of the output."""
        return ["all", *self._sums(self.rows), self.seen]

    def text(self):
        """The table as Markdown."""
        return f"{markdown_table(*self.table())}\n\n{self.explanation()}"

    def table(self):
        """The headings and the rows of the table of `text`."""
        decoder = [row for row in self.rows if re.fullmatch(r"d\d+", row[0])]
        lines = [*self.rows]
        if decoder:
            lines.append(["decoder", *self._sums(decoder), decoder[-1][5]])
        return self.HEADERS, [*lines, self.total]

    def explanation(self):
        """What the columns are, in a line."""
        kind, unit = ("image", "pixels") if len(self.sizes) == 2 else ("volume", "voxels")
        size = " x ".join(map(str, self.sizes))
        return (
            "Kernels: weights of convolutions and dense layers, without biases and norms. "
            f"MACs: for one {kind} of {size}. Receptive field: side in {unit}."
        )

    @staticmethod
    def _sums(rows):
        columns = zip(*(row[1:5] for row in rows), strict=True)
        return [None if None in column else sum(column) for column in columns]


def analyze(model, expected=None, height=256, width=256, depth=64):
    """Tells part by part what a network holds, costs and sees, beside the paper's closed form.

    Args:
        model: a functional `keras.Model` of 2-D or 3-D layers; it may hold other models.
        expected: kernel weights by part, as `closed_form` gives them; None leaves them out.
        height, width: size of the image that the multiply-adds are for, in pixels.
        depth: with them the size of a volume, in voxels; images have none.

    Returns:
        An `Analysis`; `print(analysis.text())` shows the table. Where pixels see the whole image,
        as after squeeze-and-excitation, their receptive field is `"whole image"`.

    Raises:
        ValueError: if the model holds a layer that is not known.

    Example:

    >>> expected = keras_deepskip.analysis.closed_form()
    >>> analyze(keras_deepskip.build_model(), expected).total[:3]
    ['all', 644192, 644192]
    """
    trail, outputs = trace(model, height, width, depth)
    kernels, views, parameters = conv_parameters(model), by_part(trail), count_weights(model)
    encoder_first = sorted(parameters, key=lambda part: not re.fullmatch(r"e\d+|backbone", part))
    rows = [
        [
            part,
            None if expected is None else expected.get(part, 0),
            kernels.get(part, 0),
            parameters[part],
            views[part].macs,
            _side(views[part].field),
        ]
        for part in encoder_first
    ]
    sizes = spatial_sizes(model.inputs[0].shape, height, width, depth)
    return Analysis(rows, sizes, _side(widest_field(outputs)))


def _side(field):
    return "whole image" if field is None else field.size
