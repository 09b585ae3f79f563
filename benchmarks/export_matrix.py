"""Which network becomes which file under which backend, and how far the file is from it.

    python benchmarks/export_matrix.py --out export_matrix.md

Three networks are trained for a few steps; then each is exported in every format under every
backend (a process each), for images of any size and, of the light ones, of 64 x 64 alone. The table
holds the largest difference that `export` found. Finished rows are kept beside the table as
JSON lines: the same command resumes after an interrupt.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")
ROOT = Path(__file__).resolve().parent.parent
NETWORKS = {  # name: (backbone, size)
    "light_vgg16, any size": ("light_vgg16", None),
    "light_vgg16, 64 x 64": ("light_vgg16", 64),
    "light_resnet34, any size": ("light_resnet34", None),
    "light_resnet34, 64 x 64": ("light_resnet34", 64),
    "mobilenet, any size": ("mobilenet", None),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--under", choices=BACKENDS, help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows = options.out.with_suffix(".jsonl")
    if options.under:
        export_all(options.under, options.weights, rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        for backend in ("", *BACKENDS):  # the first one trains
            process(backend, options.out, folder)
    options.out.write_text(table(read(rows)), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


def process(backend, out, folder):
    environment = {**os.environ, "KERAS_BACKEND": backend or BACKENDS[0], "PYTHONPATH": str(ROOT)}
    own = [__file__, "--out", out, "--weights", folder]
    train = ["-c", f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); "
                   f"import export_matrix; export_matrix.train_all({str(folder)!r})"]  # fmt: skip
    command = [sys.executable, *([*own, "--under", backend] if backend else train)]
    subprocess.run(list(map(str, command)), env=environment, check=True)


def build(backbone, size):
    import keras_deepskip

    return keras_deepskip.build_model((size, size, 3), num_classes=3, backbone=backbone)


def train_all(folder):
    """A few steps each, so that the batch norms have statistics of images."""
    import keras

    from keras_deepskip import data, losses

    keras.utils.set_random_seed(0)
    images, masks = data.scenes("lesions", 16, seed=0)
    for backbone in sorted({backbone for backbone, _ in NETWORKS.values()}):
        model = build(backbone, None)
        model.compile(keras.optimizers.Adam(3e-3), losses.SmallObjectLoss())
        model.fit(images[:, :128, :128], masks[:, :128, :128], batch_size=4, epochs=5, verbose=0)
        model.save_weights(Path(folder) / f"{backbone}.weights.h5")


def export_all(backend, weights, rows):
    from keras_deepskip.export import FORMATS, export

    done = {(row["backend"], row["network"], row["format"]) for row in read(rows)}
    for network, (backbone, size) in NETWORKS.items():
        model = build(backbone, size)
        model.load_weights(weights / f"{backbone}.weights.h5")
        for format, chosen in FORMATS.items():
            if (backend, network, format) in done:
                continue
            row = {"backend": backend, "network": network, "format": format}
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                try:
                    report = export(model, Path(folder) / f"m{chosen.suffix}", format)
                    row.update(difference=max(report.differences.values()), bytes=report.size)
                    row.update(written_under=report.backend, versions=report.versions)
                except (ArithmeticError, ImportError, RuntimeError, ValueError) as error:
                    row["error"] = str(error)[-500:]
                row["seconds"] = round(time.perf_counter() - start, 1)
            with rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def read(rows):
    if not rows.is_file():
        return []
    return [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]


def table(rows):
    """Formats and backends down, networks across."""
    from keras_deepskip._tables import markdown_table

    found = {(row["format"], row["backend"], row["network"]): row for row in rows}
    lines = []
    for format, backend in sorted({(row["format"], row["backend"]) for row in rows}):
        cells = [found.get((format, backend, network), {}) for network in NETWORKS]
        first = cells[0]
        differences = [f"{c['difference']:.0e}" if "bytes" in c else "refused" for c in cells]
        size = f"{first.get('bytes', 0) / 1e6:.1f}"
        lines.append([format, backend, first.get("written_under"), *differences, size])
    headers = ["format", "backend in use", "written under", *NETWORKS, "MB, light_vgg16"]
    return markdown_table(headers, lines) + "\n"


if __name__ == "__main__":
    main()
