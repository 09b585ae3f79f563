"""The memory that XLA plans for the network under JAX, in plain layers and in this package's.

    KERAS_BACKEND=jax python benchmarks/jax_memory.py

Prints, for 4 images of 256 x 256, the megabytes of temporary memory that the compiler plans for the
value and the gradients of the loss, and for a prediction. (A process's own peak, which
`keras-deepskip benchmark` reports, includes what is left of the compilation.)
"""

import keras
import numpy as np

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.studies.timing.plain_networks import deepskip_plain

BATCH, SIZE = 4, 256


def main():
    """Prints the table."""
    networks = {
        "deepskip_plain": deepskip_plain(SIZE),
        "deepskip": build_model((SIZE, SIZE, 3), input_range=(0, 1)),
    }
    rows = [[name, *planned(model)] for name, model in networks.items()]
    print(f"keras {keras.__version__}\n")
    print(markdown_table(["network", "MB, value and gradients", "MB, prediction"], rows))


def planned(model):
    """Megabytes for the value and gradients of the loss, and for a prediction."""
    import jax

    images = np.zeros((BATCH, SIZE, SIZE, 3), "float32")
    masks, loss = np.zeros((BATCH, SIZE, SIZE, 1), "float32"), SmallObjectLoss()
    trained = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    def train(trained, others):
        outputs, others = model.stateless_call(trained, others, images, training=True)
        return loss(masks, outputs), others

    def predict(trained, others):
        return model.stateless_call(trained, others, images, training=False)[0]

    sizes = []
    for function in (jax.value_and_grad(train, has_aux=True), predict):
        compiled = jax.jit(function).lower(trained, others).compile()
        sizes.append(round(compiled.memory_analysis().temp_size_in_bytes / 1e6))
    return sizes


if __name__ == "__main__":
    main()
