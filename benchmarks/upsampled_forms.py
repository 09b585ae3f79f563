"""The forms of `UpsampledConv2D` side by side, on the backend in use.

    KERAS_BACKEND=jax python benchmarks/upsampled_forms.py

Prints a Markdown table: for each factor and form, milliseconds of the value alone, and of the value
with both gradients, on the maps that the light network's finest decoder level works with (4 images
of 256 x 256, 8 filters; 8 x factor input channels). Rounds are interleaved; medians are shown.
"""

import statistics
import time

import keras
import numpy as np
from keras import ops

from keras_deepskip._tables import markdown_table
from keras_deepskip.layers import upsampled_conv

BATCH, SIZE, FILTERS, KERNEL_SIZE, ROUNDS = 4, 256, 8, 3, 9
FORMS = ("upsampled", "transposed", "by_rows")


def main():
    """Times every form at factors 2, 4 and 8."""
    rng = np.random.default_rng(0)
    rows = []
    for factor in (2, 4, 8):
        channels = FILTERS * factor
        small = SIZE // factor
        x = ops.convert_to_tensor(rng.standard_normal((BATCH, small, small, channels), "float32"))
        shape = (KERNEL_SIZE, KERNEL_SIZE, channels, FILTERS)
        kernel = ops.convert_to_tensor(rng.standard_normal(shape, "float32"))
        calls = {}
        for name in FORMS:
            calls[name] = compiled(getattr(upsampled_conv, name), x, kernel, factor)
        times = interleaved([call for pair in calls.values() for call in pair])
        for index, name in enumerate(calls):
            rows.append([factor, name, times[2 * index], times[2 * index + 1]])
    print(f"{keras.backend.backend()}, keras {keras.__version__}\n")
    print(markdown_table(["factor", "form", "value ms", "value and gradients ms"], rows))


def interleaved(calls):
    """Median milliseconds of each call, to one decimal."""
    times = [[] for _ in calls]
    for turn in range(ROUNDS + 2):
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn > 1:  # the first two compile and warm up
                own.append(1e3 * (time.perf_counter() - start))
    return [f"{statistics.median(own):.1f}" for own in times]


def compiled(form, x, kernel, factor):
    """Two functions of no arguments: the value, and the value with its gradients; both
    return when the values are computed."""
    backend = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return backend[keras.backend.backend()](lambda x, kernel: form(x, kernel, factor), x, kernel)


def _tensorflow(function, x, kernel):
    import tensorflow as tf

    @tf.function
    def gradients(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = function(x, kernel)
        return tape.gradient(y, [x, kernel], output_gradients=y)

    value = tf.function(function)
    return lambda: value(x, kernel)[0, 0, 0].numpy(), lambda: gradients(x, kernel)[1].numpy()


def _jax(function, x, kernel):
    import jax

    @jax.jit
    def gradients(x, kernel):
        y, pull = jax.vjp(function, x, kernel)
        return pull(y)

    value = jax.jit(function)
    return (
        lambda: jax.block_until_ready(value(x, kernel)),
        lambda: jax.block_until_ready(gradients(x, kernel)),
    )


def _torch(function, x, kernel):
    import torch

    def gradients():
        given = [x.clone().requires_grad_(), kernel.clone().requires_grad_()]
        y = function(*given)
        return torch.autograd.grad(y, given, y.detach())

    def value():
        with torch.inference_mode():
            return function(x, kernel)

    return value, gradients


if __name__ == "__main__":
    main()
