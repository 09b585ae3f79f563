"""What is known of a tensor without computing it: its axes, and how far its pixels see."""

import dataclasses
import math
from fractions import Fraction


@dataclasses.dataclass(frozen=True)
class Axis:
    """One spatial axis of a tensor: its size, and which input pixels one of its pixels sees.

    Pixel i sees input pixels i * step - before .. i * step + after.
    """

    size: int
    step: Fraction = Fraction(1)
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)
    grid: int = 1  # input pixels between places where the layer that made it begins anew

    @staticmethod
    def widest(axes):
        """Of axes on one grid, an axis whose pixels see what those of all the axes see."""
        return dataclasses.replace(
            axes[0],
            before=max(axis.before for axis in axes),
            after=max(axis.after for axis in axes),
        )

    def padded(self, left, right):
        """With so many pixels more at the two ends; fewer, if negative."""
        return dataclasses.replace(
            self,
            size=self.size + left + right,
            before=self.before + left * self.step,
            after=self.after - left * self.step,
        )

    def windowed(self, kernel, stride, dilation=1, padding="valid"):
        """Through a window of `kernel` pixels, `dilation` apart, that moves by `stride`."""
        reach = (kernel - 1) * dilation  # from its first pixel to its last
        if padding == "same":
            lacking = max((math.ceil(self.size / stride) - 1) * stride + reach + 1 - self.size, 0)
            filled = self.padded(lacking // 2, lacking - lacking // 2)
            return filled.windowed(kernel, stride, dilation)
        if self.size <= reach:
            raise ValueError(
                f"a window of {reach + 1} pixels meets a map of {self.size}. Take a larger image"
            )
        return dataclasses.replace(
            self,
            size=(self.size - reach - 1) // stride + 1,
            step=self.step * stride,
            after=self.after + reach * self.step,
            grid=Fraction(self.step * stride).numerator,
        )

    def spread(self, kernel, stride, padding="valid"):
        """Through a transposed convolution: each pixel is a kernel, `stride` new pixels apart."""
        lacking = max(kernel - stride, 0)
        cut = lacking if padding == "same" else 0  # new pixels left out at the two ends
        step = self.step / stride
        return dataclasses.replace(
            self,
            size=self.size * stride + lacking - cut,
            step=step,
            before=self.before + (kernel - 1 - cut // 2) * step,
            after=self.after + cut // 2 * step,
        )

    def upsampled(self, factor, interpolation="nearest"):
        """Upsampled: pixel i is of pixel floor(i / factor), or of the two about its own centre."""
        back, ahead = {
            "nearest": (2 * factor - 2, 0),
            "bilinear": (3 * factor - 2 - factor % 2, factor - factor % 2),
        }[interpolation]  # in halves of the new pixels
        half = self.step / factor / 2
        return dataclasses.replace(
            self,
            size=self.size * factor,
            step=self.step / factor,
            before=self.before + back * half,
            after=self.after + ahead * half,
        )


@dataclasses.dataclass(frozen=True)
class View:
    """What is known of a tensor: its axes, the part it is of, and the work that made it.

    Where the slices of a volume are images by themselves, `slices` is the axis that they lie along;
    where the boxes of an image are, the list of them.
    """

    part: str
    axes: tuple
    macs: int = 0
    whole: str | None = None  # the layer by which its pixels see the whole image
    slices: Axis | None = None

    @property
    def sizes(self):
        return tuple(axis.size for axis in self.axes)

    @property
    def all_axes(self):
        return self.axes if self.slices is None else (self.slices, *self.axes)

    @property
    def field(self):
        """The receptive field of its pixels; None if they see the whole image."""
        if self.whole:
            return None
        return ReceptiveField(
            max((math.ceil(axis.before) for axis in self.all_axes), default=0),
            max((math.ceil(axis.after) for axis in self.all_axes), default=0),
        )

    def changed(self, change, *settings):
        """Every axis changed, each with its own of the settings (or with the one for all)."""
        settings = [
            value if isinstance(value, list | tuple) else [value] * len(self.axes)
            for value in settings
        ]
        axes = [change(axis, *own) for axis, *own in zip(self.axes, *settings, strict=True)]
        return dataclasses.replace(self, axes=tuple(axes), macs=0)


def widest_field(views):
    """The receptive field that holds those of all the views; None if one has no bounds."""
    fields = [view.field for view in views]
    if None in fields:
        return None
    return ReceptiveField(max(f.before for f in fields), max(f.after for f in fields))


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """How far an output pixel sees: `before` pixels up and left, `after` down and right.

    Along the axis on which it sees farthest, where axes differ.
    """

    before: int
    after: int

    @property
    def size(self):
        """Side of the square (of a volume: the cube) that is seen, in pixels."""
        return self.before + 1 + self.after
