"""The machine that was measured on, and the memory that a process holds."""

import ctypes
import gc
import os
import platform
from pathlib import Path

from keras_deepskip import _checks


def machine():
    """Returns what measurements depend on besides software: processor, cores, memory, GPU, system.

    Raises:
        ImportError: if psutil is not installed.

    Example:

    >>> machine()["cores"] >= 1
    True
    """
    model = _entry("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    gpus = [_entry(p, "Model") for p in Path("/proc/driver/nvidia/gpus").glob("*/information")]
    return {
        "processor": model,
        "cores": cores(),
        "memory": f"{_psutil().virtual_memory().total / 1e9:.1f} GB",
        "gpu": ", ".join(gpus) or "none",
        "system": f"{platform.system()} {platform.release()}",
    }


def cores():
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # psutil's `cpu_affinity` is missing on macOS too
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


# ---- Memory of this process ----------------------------------------------------------------------


def resident():
    """Bytes of memory that this process holds now."""
    return _psutil().Process().memory_info().rss


def reset_peak():
    """Starts `peak` anew. Returns False where the system does not offer it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets VmHWM, nothing else
    except OSError:
        return False
    return True


def peak():
    """Most bytes that this process has held since `reset_peak` (psutil has no such value)."""
    return int(_entry("/proc/self/status", "VmHWM").split()[0]) * 1024  # "12 kB"


def release_memory():
    """Returns freed memory to the system, which the C library would keep for later."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def raise_oom_score():
    """Makes Linux end this process before all others when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # only Linux has a score


def _psutil():
    return _checks.require("psutil", '"keras-deepskip[studies]"', "the timing of networks")


def _entry(path, name):
    """The value of a line `name: value` of a file of /proc; None if there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), None)
