"""Training on several devices, which are virtual ones of this CPU: images a second, by backend.

    python benchmarks/devices.py DATA [--backends jax tensorflow torch] [--devices 1 2 4]

For each backend and number of devices, in processes of its own: images a second in `fit` (the
median step, the light network, batches of 8 crops of 96 x 96), and batches a second that the input
pipeline of one process makes when it does nothing else, while the other processes do the same. All
devices share the cores that there are: what is measured is the cost of sharing, not a gain.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from keras_deepskip._processes import child_environment
from keras_deepskip._tables import markdown_table

WARM, BATCH, CROP = 3, 8, 96
HOSTS = "processes"  # of JAX: as on two machines, each with a device


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--backends", nargs="+", default=["jax", "tensorflow", "torch"])
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed (default: 20)")
    options = parser.parse_args()
    rows = []
    for backend in options.backends:
        for devices in options.devices:
            ways = ["devices", HOSTS] if backend == "jax" and devices > 1 else ["devices"]
            for way in ways if backend != "torch" else [HOSTS]:
                found = measured(backend, devices, way, options)
                rows.append([backend, f"{devices} {way}", *found.values()])
                print(*rows[-1], file=sys.stderr)
    headers = ["backend", "virtual devices of one CPU", "images a second"]
    print(markdown_table([*headers, "batches a second of the pipeline, each process"], rows))


def measured(backend, devices, way, options):
    """Images and batches a second, as the first process prints them."""
    port = free_port()
    environment = child_environment(backend)
    if backend == "jax" and way == "devices":
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    command = [sys.executable, __file__]
    if backend == "torch" and devices > 1:
        command[1:1] = ["-m", "torch.distributed.run", f"--nproc-per-node={devices}"]
        command.insert(4, f"--master-port={port}")
    processes = []
    for rank in range(devices if way == HOSTS and backend == "jax" else 1):
        own = {"MEASURED": json.dumps([str(options.data), devices, options.steps])}
        if way == HOSTS and backend == "jax":
            own |= {
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(devices),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(rank),
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
                "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{port}",
            }
        processes.append(
            subprocess.Popen(command, env={**environment, **own}, stdout=subprocess.PIPE, text=True)
        )
    texts = [process.communicate()[0] for process in processes]
    (line,) = [line for line in texts[0].splitlines() if line.startswith("{")]
    return json.loads(line)


def free_port():
    """A port of this machine that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def measure(data, devices, count):
    """Trains and times in this process, which may be one of several."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        virtual = [tf.config.LogicalDeviceConfiguration()] * devices
        tf.config.set_logical_device_configuration(cpu, virtual)
    from keras_deepskip import build_model
    from keras_deepskip.data import Augmentation, CropDataset, find_samples
    from keras_deepskip.losses import SmallObjectLoss
    from keras_deepskip.training import on_devices
    from keras_deepskip.training.processes import joined_processes

    ends = []
    clock = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    samples = find_samples(data)
    crops = CropDataset(samples, CROP, BATCH, WARM + count, augmentation=Augmentation())
    with joined_processes() as processes, on_devices("all"):
        keras.utils.set_random_seed(0)  # JAX wants the same weights in all processes
        model = build_model()
        model.compile("adam", SmallObjectLoss())
        together = processes.train_together(model)
        share = processes.share(crops)
        model.fit(share, shuffle=False, callbacks=[*together, clock], verbose=0)
        processes.wait()
        start = time.perf_counter()
        for index in range(count):
            crops[index]
        made = count / (time.perf_counter() - start)
        processes.wait()
    steps = [end - start for start, end in zip(ends[WARM:], ends[WARM + 1 :], strict=False)]
    images = BATCH / statistics.median(steps)
    if processes.first:
        print(json.dumps({"images": f"{images:.1f}", "batches": f"{made:.1f}"}), flush=True)


if __name__ == "__main__":
    if "MEASURED" in os.environ:
        measure(*json.loads(os.environ["MEASURED"]))
    else:
        main()
