"""Triton without Docker: a folder of models, run by ONNX Runtime.

    pip install --no-deps --target triton nvidia-pytriton==0.7.0 onnxruntime "numpy<2"
    python serve.py triton served [--http-port 8000 ...]

nvidia-pytriton's wheel (Linux, x86-64) carries Triton's server and its backend for Python, which
reads arrays of NumPy 1 alone, though not the one for ONNX Runtime: onnxruntime/model.py beside this
file stands in for it. The server listens on this machine alone, at :8000 (HTTP) and :8001 (gRPC);
further options are Triton's own.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(packages, repository, *options):
    """Becomes the server."""
    packages = Path(packages).resolve()
    triton = packages / "pytriton" / "tritonserver"
    if not triton.is_dir():
        sys.exit(f"{triton} is missing. Install what the first lines of {__file__} say")
    libraries = [str(packages / "nvidia_pytriton.libs"), sysconfig.get_config_var("LIBDIR")]
    os.environ["LD_LIBRARY_PATH"] = ":".join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")])
    command = [
        str(triton / "bin" / "tritonserver"), f"--model-repository={Path(repository).resolve()}",
        f"--backend-directory={backends(triton)}", "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1", "--allow-metrics=false", *options,
    ]  # fmt: skip
    os.chdir(packages)  # where the server's Python looks first, before what this one has
    os.execv(command[0], command)


def backends(triton):
    """The folder of what runs models: Triton's backend for Python, and ours on top of it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        sys.exit(f"{stub} is missing: this server runs Python 3.8 to 3.13, not {version}")
    put(stub, triton / "backends" / "python")
    put(HERE / "onnxruntime" / "model.py", triton / "backends" / "onnxruntime")
    return triton / "backends"


def put(file, folder):
    """Copies a file, also where another server runs from one already."""
    folder.mkdir(exist_ok=True)
    new = folder / f"{file.name}.{os.getpid()}"
    shutil.copy2(file, new)
    new.replace(folder / file.name)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
