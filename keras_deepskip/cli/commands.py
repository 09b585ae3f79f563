"""What each command does: it calls the function of the same name, and prints what it returns.

Those that find something return it as a `Result` too, for `--json`.
"""

import dataclasses
import functools
import itertools
from pathlib import Path

from keras_deepskip.cli.arguments import MODEL_OPTIONS
from keras_deepskip.cli.machine_output import Result
from keras_deepskip.cli.values import chosen_classes, color_table

REPORT = "report.html"
NO_DATA = "with --model, --data must name a folder with images/ and masks/"


def run_train(options):
    from keras_deepskip.training import Recipe, train
    from keras_deepskip.training.processes import started_processes

    recipe = Recipe(**_fields(options, (f.name for f in dataclasses.fields(Recipe))))
    arguments = {
        "masks": _masks(options),
        "resume": options.resume,
        **_fields(options, ("channels", "input_range", "group_by", "devices")),
        **_chosen_model(options),
    }
    if options.folds:
        return _run_folds(options, recipe, arguments)
    if options.ensemble:
        raise ValueError("--ensemble joins the networks of folds. Received: no --folds. Add it")
    run = train(options.data, options.out, recipe, split_file=options.split_file, **arguments)
    if not started_processes().first:
        return None
    best = run.history[run.best_epoch - 1]
    point = run.operating_point
    print(f"{run.plan.text()}\n")
    print(
        f"Best of {len(run.history)} epochs on the validation images: epoch {run.best_epoch}, "
        f"IoU {best['val_iou']:.3f}, object F1 {best['val_object_f1']:.3f}."
    )
    print(
        f"Operating point, chosen on them: threshold {point.threshold:g}, smallest object "
        f"{point.min_area} pixels" + (", touching objects told apart." if point.separate else ".")
    )
    facts = {
        "run": run.folder, "model": run.folder / "model.keras", "epochs": len(run.history),
        "best": best, "operating_point": point.to_dict(), "plan": run.plan.to_dict(),
    }  # fmt: skip
    page = _page(options, run)
    if page is not None:
        from keras_deepskip.inference import evaluate

        found = evaluate(run, run.split.val, each=page.add, verbose=0)
        facts["report"] = page.write(run.folder / REPORT, found)
        print(f"Wrote {facts['report']}, of the validation images.")
    print(f"Wrote {run.folder / 'model.keras'}. Next: keras-deepskip evaluate --run {run.folder}")
    return Result(facts)


def _page(options, subject):
    """A report to be filled; None if it is not asked for, or its packages are not there."""
    if not options.report:
        return None
    from keras_deepskip.reporting import Report

    try:
        return Report(subject)
    except ImportError as error:
        print(f"Wrote no {REPORT}: {error}")
        return None


def _run_folds(options, recipe, arguments):
    from keras_deepskip.training import cross_validate

    if options.split_file:
        raise ValueError("--folds deals the images anew. Received also: --split-file. Leave it out")
    chosen = _fields(options, ("folds", "ensemble"))
    found = cross_validate(options.data, options.out, recipe, **chosen, **arguments)
    print(f"{found.text()}\n")
    if options.ensemble:
        print(f"Wrote {found.folder / 'model.keras'}, the mean of all.")
    print(f"Wrote {found.folder / 'folds.json'}. The runs: {found.folder / 'fold-1'}, ...")
    runs = [run.folder for run in found.runs]
    return Result({"runs": runs, "folds": found.figures, "summary": found.summary()})


def run_evaluate(options):
    from keras_deepskip.inference import evaluate

    subject = _model_or_run(options)
    out = options.out or (options.run_folder if _is_test_of_run(options) else None)
    page = _page(options, subject) if out else None
    found = evaluate(
        subject,
        _samples(options, subject),
        out=out,
        masks=_masks(options, getattr(subject, "masks", None)),
        each=page and page.add,
        **_fields(options, ("threshold", "min_area", "separate", "criterion")),
    )
    print(found.text())
    facts = found.to_dict()
    if page is not None:
        facts["report"] = page.write(Path(out) / REPORT, found)
        print(f"Wrote {facts['report']}")
    return Result(facts)


def run_report(options):
    from keras_deepskip.reporting import report

    subject = _model_or_run(options)
    path = report(
        subject,
        options.out,
        _samples(options, subject),
        masks=_masks(options, getattr(subject, "masks", None)),
        **_fields(options, ("threshold", "min_area", "separate", "criterion")),
    )
    print(f"Wrote {path}. Open it in a browser.")
    return Result({"report": path})


def run_push(options):
    from keras_deepskip.hub import push_to_hub
    from keras_deepskip.training import Run

    fields = _fields(options, ("repo_id", "licence", "pictures", "private", "revision"))
    address = push_to_hub(Run.load(options.run_folder), **fields)
    print(f'Pushed {address}. Load it with: keras_deepskip.load_model("{address}")')
    return Result({"address": address})


def _samples(options, subject):
    """The images to evaluate on."""
    from keras_deepskip.data import load_split
    from keras_deepskip.data.stores import local_folder

    if options.split == "all":
        return _all_samples(options.data or (subject.data if options.run_folder else None))
    if options.run_folder and options.data:
        chosen, text = subject.judged(_all_samples(options.data), options.split)
        print(f"Images: {text}.\n")
        return chosen
    if not options.run_folder and options.split is None:
        return _all_samples(options.data)
    if options.run_folder:
        # Images on a store are fetched here, where that is shown
        subject = dataclasses.replace(subject, data=local_folder(subject.data, verbose="auto"))
    split = subject.split if options.run_folder else load_split(_data_folder(options))
    samples = getattr(split, options.split or "test")
    if not samples:
        raise ValueError(f"the split has no {options.split or 'test'} images")
    return samples


def _all_samples(folder):
    from keras_deepskip.data import find_samples
    from keras_deepskip.data.folder import part_folders
    from keras_deepskip.data.stores import local_folder

    if folder is None:
        raise ValueError(NO_DATA)
    folder = local_folder(folder, verbose="auto")
    parts = part_folders(folder) if folder.is_dir() else {}
    roots = parts.values() or [folder]
    return [sample for root in roots for sample in find_samples(root)]


def _data_folder(options):
    from keras_deepskip.data.stores import local_folder

    if options.data is None:
        raise ValueError(NO_DATA)
    return local_folder(options.data, verbose="auto")


def _is_test_of_run(options):
    return options.run_folder and not options.data and options.split in (None, "test")


def run_predict(options):
    from keras_deepskip.inference import predict

    subject = _model_or_run(options)
    page = _page(options, subject)
    objects = predict(
        subject,
        options.images,
        options.out,
        **_fields(options, ("probabilities", "overlays", "threshold", "min_area", "separate")),
        **_fields(options, ("measures", "tta", "tables", "cluster")),
        formats=options.formats or (),
        each=page and page.add,
    )
    failures = Path(options.out) / "failures.csv"
    facts = {"objects": len(objects), "table": objects.path}
    if failures.is_file():  # it told of them
        facts["failures"] = failures
    if page is not None:
        facts["report"] = page.write(Path(options.out) / REPORT)
        print(f"Wrote {facts['report']}")
    print(f"Found {len(objects)} objects. Wrote {objects.path}")
    return Result(facts, status=int(failures.is_file()))


def run_suggest(options):
    from keras_deepskip.inference import suggest
    from keras_deepskip.inference.suggesting import TABLE
    from keras_deepskip.training import Run

    models = [Run.load(folder) for folder in options.runs or ()]
    models += [_load_model(path) for path in options.models or ()]
    rows = suggest(models, **_fields(options, ("images", "out", "count", "formats")))
    table = Path(options.out) / TABLE
    first = rows[0]
    print(f"Most disputed: {first['image']}, by {first['disagreement']:g}. Wrote {table}")
    return Result({"table": table, "images": [row["image"] for row in rows[: options.count]]})


def run_stream(options):
    from keras_deepskip.inference.streaming import stream

    source, out = options.source, options.out and Path(options.out)
    if source.isdecimal() and not Path(source).exists():
        source = int(source)
    elif out and out.resolve() in (Path(source).resolve(), Path(source).resolve().parent):
        raise ValueError(f"--out must be another folder than that of the frames. Received: {out}")
    latency = None if options.latency is None else options.latency / 1e3
    chosen = _fields(options, ("batch_size", "live", "threshold", "min_area", "track"))
    with stream(_model_or_run(options), source, latency=latency, **chosen) as results:
        try:
            for result in itertools.islice(results, options.limit):
                if out:
                    result.write(out, overlay=options.overlays)
        finally:  # after an interrupt too
            print(results.statistics.text())


def run_export(options):
    from keras_deepskip.export import export

    report = export(
        _model_or_run(options),
        options.out,
        options.format,
        options.input_range,
        **_fields(options, ("mask", "threshold", "serving", "max_batch_size")),
    )
    print(report.text())


def run_quantize(options):
    from keras_deepskip.data import load_split
    from keras_deepskip.quantization import quantize

    subject, split = _model_or_run(options), None
    if not options.run_folder:
        split = load_split(_data_folder(options))
    report = quantize(
        subject,
        options.out,
        split and split.train,
        split and split.test,
        masks=_masks(options, getattr(subject, "masks", None)),
        **_fields(options, ("images", "threshold", "input_range")),
    )
    print(report.text())


def run_analyze(options):
    from keras_deepskip import analysis

    if options.model:
        model, expected = _load_model(options.model), None
    else:
        from keras_deepskip import build_model

        shape = (None, None, options.channels)
        model = build_model(shape, options.num_classes, **_chosen_model(options))
        expected = _closed_form(options)
    print(analysis.analyze(model, expected, options.size, options.size).text())


def _closed_form(options):
    """What the paper's equations count, where they are about the network that was chosen."""
    from keras_deepskip import analysis
    from keras_deepskip.architectures import find_architecture
    from keras_deepskip.encoders import LIGHT, LIGHT_LEVELS

    asked = _chosen_model(options)
    chosen = {**find_architecture("deepskip").options, **asked}
    ours = chosen.get("architecture", "deepskip") == "deepskip"
    if not ours or chosen["backbone"] not in LIGHT or chosen["decoder_filters"]:
        return None
    counted = ("backbone", "skips", "base_filters", "kernel_size")
    return analysis.closed_form(
        channels=options.channels,
        num_classes=options.num_classes,
        levels=chosen["levels"] or LIGHT_LEVELS,
        **{name: chosen[name] for name in counted},
    )


def run_backbones(options):
    from keras_deepskip.encoders import BACKBONES

    if options.list:
        print("\n".join(BACKBONES))
        return
    from keras_deepskip.studies.timing import backbones

    found = backbones(log=print, **_fields(options, ("names", "size", "repeats", "out")))
    print(found.text())


def run_audit(options):
    from keras_deepskip import _files
    from keras_deepskip.data import Survey, audit

    masks = _masks(options)
    survey = Survey.of(options.data, masks, options.group_by, verbose="auto")
    report = audit(survey, masks, **_fields(options, ("split_file", "seed", "group_by")))
    print(report.text())
    if options.json:
        _files.write_json(options.json, report.to_dict())
    return Result(report.to_dict(), status=0 if report.ok else 1)


def run_plan(options):
    from keras_deepskip.data import Survey, load_split
    from keras_deepskip.training import Recipe, make_plan

    recipe = Recipe(**_fields(options, ("minutes", "steps", "epochs", "seed", "scene")))
    survey = Survey.of(options.data, _masks(options), options.group_by, verbose="auto")
    how = _fields(options, ("split_file", "group_by"))
    plan = make_plan(recipe, survey, load_split(survey, seed=recipe.seed, **how).train)
    print(plan.text())
    return Result(plan.to_dict())


def run_sample(options):
    from keras_deepskip.data import sample

    names = ("kind", "images", "seed", "height", "width", "count", "size", "contrast", "clutter")
    folder = sample(options.out, **_fields(options, (*names, "classes", "overwrite")))
    print(f"Wrote {options.images} images and masks to {folder}")
    return Result({"folder": folder, "images": options.images})


def run_import(options):
    from keras_deepskip.data import import_set

    names = ("layout", "source", "out", "limit", "overwrite", "separate_touching", "max_area")
    chosen = chosen_classes(options.classes)
    print(import_set(classes=chosen, **_fields(options, names)).text())


def run_demo(options):
    from keras_deepskip.demo import demo

    page = demo(options.out, seed=options.seed, epochs=options.epochs)
    print(f"Open {page} in a browser.")
    return Result({"report": page})


def run_benchmark(options):
    from keras_deepskip.studies import timing as benchmark

    names = ("rivals", "sizes", "batches", "modes", "repeats", "limit_s", "backend")
    chosen = _fields(options, names if options.scaling else (*names, "reference"))
    chosen = {name: value for name, value in chosen.items() if value is not None}
    run, name = (
        (benchmark.scaling, "scaling") if options.scaling else (benchmark.benchmark, "results")
    )
    run(options.out, log=print, **chosen)
    print(f"Wrote {Path(options.out) / name}.md, .png and .json")


def run_ablation(options):
    from keras_deepskip.studies.experiments import ablation

    ablation(options.out, **_study(options))


def run_compare(options):
    from keras_deepskip.studies.experiments import compare

    compare(options.out, **_study(options))


def _study(options):
    from keras_deepskip.studies.experiments import Category

    return {
        "log": functools.partial(print, flush=True),
        "own_categories": [Category(*pair) for pair in options.category or ()],
        **_fields(options, ("preset", "data", "networks", "categories", "seeds", "steps", "jobs")),
    }


# --- Values of options -------------------------------------------------------------------------


def _fields(options, names):
    return {name: getattr(options, name) for name in names}


def _chosen_model(options):
    """The options of the network that were given."""
    given = {**_fields(options, MODEL_OPTIONS), **dict(options.option or ())}
    return {name: value for name, value in given.items() if value is not None}


def _model_or_run(options):
    """The `Run` of --run, or the model of --model."""
    if options.run_folder is None:
        return _load_model(options.model)
    from keras_deepskip.training import Run

    return Run.load(options.run_folder, getattr(options, "data", None))


def _load_model(path):
    from keras_deepskip.models import load_model

    return load_model(path)


def _masks(options, of_run=None):
    """The `MaskReading` of the options; what is not given is that of the run."""
    from keras_deepskip.data import MaskReading

    known = of_run or MaskReading()
    given = {
        "num_classes": getattr(options, "num_classes", None),
        "colors": color_table(options.color),
        "ignore_class": options.ignore_class,
        "kind": options.mask_kind,
        "values": dict(options.mask_values) if options.mask_values else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(known, **given)
