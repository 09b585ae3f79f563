"""The machine that figures are of, and what a process holds of its memory."""

import ctypes
import gc
import os
import platform
from pathlib import Path


def machine():
    """Returns what figures depend on beside the software: processor, cores, memory, GPU, system.

    Example:

    >>> machine()["cores"] >= 1
    True
    """
    model = _entry("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()
    memory = _entry("/proc/meminfo", "MemTotal")
    gpus = [_entry(p, "Model") for p in Path("/proc/driver/nvidia/gpus").glob("*/information")]
    return {
        "processor": model,
        "cores": cores(),
        "memory": f"{_bytes(memory) / 1e9:.1f} GB" if memory else "unknown",
        "gpu": ", ".join(gpus) or "none",
        "system": f"{platform.system()} {platform.release()}",
    }


def cores():
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


# ---- Memory of this process ----------------------------------------------------------------------


def resident():
    """Bytes of memory that this process holds now; None where the system does not tell."""
    return _bytes(_entry("/proc/self/status", "VmRSS"))


def reset_peak():
    """Has `peak` begin anew. Returns False where the system does not offer it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5): resets VmHWM, nothing else
    except OSError:
        return False
    return True


def peak():
    """Most bytes that this process has held since `reset_peak`."""
    return _bytes(_entry("/proc/self/status", "VmHWM"))


def give_back():
    """Hands freed memory to the system, which the C library would keep for later."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def offer_first():
    """Has Linux end this process before all others when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # no Linux: memory is what it is


def _entry(path, name):
    """The value of a line `name: value` of a file of /proc; None if there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), None)


def _bytes(text):
    """Reads what /proc calls `12 kB`."""
    return None if text is None else int(text.split()[0]) * 1024
