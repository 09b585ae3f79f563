"""What each command does: it calls the function of the same name, and shows what it returns.

The `Result` holds it for programs (`--json`), and for people the table with which the command ends.
"""

import dataclasses
import functools
import itertools
from pathlib import Path

from keras_deepskip.cli import summaries
from keras_deepskip.cli.arguments import MODEL_OPTIONS
from keras_deepskip.cli.ending import Ending, keras_deepskip, show
from keras_deepskip.cli.machine_output import Result
from keras_deepskip.cli.values import chosen_classes, color_table

REPORT = "report.html"
OPEN = "open it in a browser"
RUN_IT = "run it without Keras: the docs on export have a program for each format"
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
    if options.folds is not None:
        return _run_folds(options, recipe, arguments)
    if options.ensemble:
        raise ValueError("--ensemble joins the networks of folds. Received: no --folds. Add it")
    first = started_processes().first
    run = train(
        options.data, options.out, recipe, split_file=options.split_file,
        callbacks=[_plan_teller(options.out)] if first else (), **arguments,
    )  # fmt: skip
    if not first:
        return None
    best, point = run.history[run.best_epoch - 1], run.operating_point
    facts = {
        "run": run.folder, "model": run.folder / "model.keras", "epochs": len(run.history),
        "best": best, "operating_point": point.to_dict(), "plan": run.plan.to_dict(),
    }  # fmt: skip
    wrote = [(facts["model"], "")]
    page = _page(options, run)
    if page is not None:
        from keras_deepskip.inference import evaluate

        found = evaluate(run, run.split.val, each=page.add, verbose=0)
        facts["report"] = page.write(run.folder / REPORT, found)
        wrote.append((facts["report"], f"of the validation images; {OPEN}"))
    following = keras_deepskip("evaluate", "--run", run.folder)
    return Result(facts, ending=summaries.of_training(run, wrote=wrote, following=following))


def _plan_teller(out):
    """A callback that shows the plan, with its reasons, before the first step."""
    import keras

    from keras_deepskip import _files
    from keras_deepskip.training import Plan

    told = []

    def tell(logs):
        if not told:
            told.append(True)
            plan = _files.read_json(Path(out) / "plan.json", "the plan of a run")
            show(Ending("The plan:", *summaries.table_of_plan(Plan.from_dict(plan))))

    return keras.callbacks.LambdaCallback(on_train_begin=tell)


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
    judge = functools.partial(_judged_fold, options)
    found = cross_validate(options.data, options.out, recipe, judge=judge, **chosen, **arguments)
    runs = [run.folder for run in found.runs]
    facts = {"runs": runs, "folds": found.figures, "summary": found.summary()}
    wrote = [(found.folder / "folds.json", f"the runs are {runs[0].name} to {runs[-1].name}")]
    page = _folds_page(options, found)
    if page is not None:
        facts["report"] = page
        wrote.append((page, f"with each fold's own; {OPEN}"))
    following = keras_deepskip("predict", "--run", runs[0], "--images", "NEW", "--out", "FOUND")
    if options.ensemble:
        joined = found.folder / "model.keras"
        wrote.append((joined, "the mean of all"))
        following[2:4] = ["--model", joined]
    return Result(facts, ending=summaries.of_folds(found, wrote=wrote, following=following))


def _judged_fold(options, run):
    """Evaluates the run of a fold on its test images, and writes its own page."""
    from keras_deepskip.inference import evaluate

    page = _page(options, run)
    found = evaluate(run, out=run.folder, each=page and page.add)
    if page is not None:
        page.write(run.folder / REPORT, found)
    return found


def _folds_page(options, found, out=None):
    """Writes the page of a cross-validation; None if its packages are not there."""
    from keras_deepskip.reporting import folds_report

    try:
        return folds_report(found, out) if options.report else None
    except ImportError:
        return None  # it was said of the folds' own pages


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
    facts, wrote = found.to_dict(), []
    if out:
        wrote.append((Path(out) / "evaluation.json", "all figures"))
    if page is not None:
        facts["report"] = page.write(Path(out) / REPORT, found)
        wrote.append((facts["report"], OPEN))
    ending = summaries.of_evaluation(
        found.to_dict(), wrote=wrote, following=_next_prediction(options)
    )
    return Result(facts, ending=ending)


def _next_prediction(options):
    """The command that predicts new images with what was judged."""
    source = ("--run", options.run_folder) if options.run_folder else ("--model", options.model)
    return keras_deepskip("predict", *source, "--images", "NEW", "--out", "FOUND")


def run_report(options):
    from keras_deepskip.inference import evaluate
    from keras_deepskip.reporting import Report
    from keras_deepskip.reporting.page import check_page

    if not (options.out or options.run_folder):
        raise ValueError("with --model, --out must name the page: --out report.html")
    if options.out:
        check_page(options.out)  # before images are judged for it
    if options.run_folder and (Path(options.run_folder) / "folds.json").is_file():
        return _report_of_folds(options)
    subject = _model_or_run(options)
    page = Report(subject)
    found = evaluate(  # as the function `report` does, which gives the path alone
        subject,
        _samples(options, subject),
        masks=_masks(options, getattr(subject, "masks", None)),
        each=page.add,
        **_fields(options, ("threshold", "min_area", "separate", "criterion")),
    )
    path = page.write(options.out or subject.folder / REPORT, found)
    ending = summaries.of_evaluation(
        found.to_dict(), wrote=[(path, OPEN)], following=_next_prediction(options)
    )
    return Result({"report": path}, ending=ending)


def _report_of_folds(options):
    """The page of a cross-validation, of what is in its folder."""
    from keras_deepskip.reporting import folds_report
    from keras_deepskip.training import CrossValidation

    given = ("data", "split", "threshold", "min_area", "separate", "ignore_class", "mask_kind",
             "color", "mask_values")  # fmt: skip
    asked = [
        f"--{name.replace('_', '-').removesuffix('s')}"
        for name in given
        if getattr(options, name) is not None
    ]
    asked += [f"--criterion {options.criterion}"] * (options.criterion != "iou")
    if asked:
        raise ValueError(
            "the page of a cross-validation is made of the figures that it has written. Received: "
            f"{' '.join(asked)}. Leave that out, or give the folder of a fold, such as "
            f"--run {Path(options.run_folder) / 'fold-1'}"
        )
    found = CrossValidation.load(options.run_folder)
    path = folds_report(found, options.out)
    following = keras_deepskip("report", "--run", found.runs[0].folder)
    ending = summaries.of_folds(found, wrote=[(path, OPEN)], following=following)
    return Result({"report": path}, ending=ending)


def run_push(options):
    from keras_deepskip.hub import push_to_hub
    from keras_deepskip.training import Run

    fields = _fields(options, ("repo_id", "licence", "pictures", "private", "revision"))
    address = push_to_hub(Run.load(options.run_folder), **fields)
    rows = [[address, options.licence, options.pictures]]
    following = f'in Python: keras_deepskip.load_model("{address}")'
    ending = Ending("", ("pushed", "licence", "pictures"), rows, following=following)
    return Result({"address": address}, ending=ending)


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
    from keras_deepskip.models import class_names_of, resolve_model

    subject = _model_or_run(options)
    page = _page(options, subject)
    objects = predict(
        subject,
        options.images,
        options.out,
        **_fields(options, ("probabilities", "overlays", "overlay_channels", "threshold")),
        **_fields(options, ("min_area", "separate")),
        **_fields(options, ("measures", "tta", "tables", "cluster")),
        formats=options.formats or (),
        each=page and page.add,
    )
    failures, wrote = Path(options.out) / "failures.csv", [(objects.path, "one line per object")]
    facts = {"objects": len(objects), "table": objects.path}
    if failures.is_file():  # it told of them
        facts["failures"] = failures
        wrote.append((failures, "images that could not be predicted, and why"))
    if page is not None:
        facts["report"] = page.write(Path(options.out) / REPORT)
        wrote.append((facts["report"], OPEN))
    source = ("--run", options.run_folder) if options.run_folder else ("--model", options.model)
    following = keras_deepskip("suggest", *source, "--images", *options.images, "--out", "NEXT")
    names = class_names_of(resolve_model(subject)[0])
    ending = summaries.of_prediction(objects, names, wrote=wrote, following=following)
    return Result(facts, int(failures.is_file()), ending)


def run_suggest(options):
    from keras_deepskip.inference import suggest
    from keras_deepskip.inference.suggesting import TABLE
    from keras_deepskip.training import Run

    models = [Run.load(folder) for folder in options.runs or ()]
    models += [_load_model(path) for path in options.models or ()]
    chosen = {"formats": options.formats} if options.formats else {}
    rows = suggest(models, **_fields(options, ("images", "out", "count")), **chosen)
    table = Path(options.out) / TABLE
    ending = summaries.of_suggestions(
        rows, options.count, wrote=[(table, f"and outlines of the first {options.count}")],
        following="correct the outlines, add these images to the data, and train again",
    )  # fmt: skip
    facts = {"table": table, "images": [row["image"] for row in rows[: options.count]]}
    return Result(facts, ending=ending)


def run_stream(options):
    from keras_deepskip._checks import check_integer
    from keras_deepskip.inference.streaming import stream

    source, out = options.source, options.out and Path(options.out)
    if source.isdecimal() and not Path(source).exists():
        source = int(source)
    elif out and out.resolve() in (Path(source).resolve(), Path(source).resolve().parent):
        raise ValueError(f"--out must be another folder than that of the frames. Received: {out}")
    if options.limit is not None:
        check_integer("--limit", options.limit)
    if options.overlays and not out:
        raise ValueError("--overlays are written to the folder --out. Received: none. Give it too")
    latency = None if options.latency is None else options.latency / 1e3
    chosen = _fields(options, ("batch_size", "live", "threshold", "min_area", "track"))
    with stream(_model_or_run(options), source, latency=latency, **chosen) as results:
        try:
            for result in itertools.islice(results, options.limit):
                if out:
                    result.write(out, overlay=options.overlays)
        except KeyboardInterrupt:  # the usual end of a camera's stream: told as far as it went
            show(_stream_ending(results.statistics, out))
            raise
        told = results.statistics
    return Result(dataclasses.asdict(told), ending=_stream_ending(told, out))


def _stream_ending(told, out):
    following = None if out else "--out DIR writes the masks, --overlays pictures of them"
    wrote = [(out / "masks", "")] if out and told.frames else []
    return summaries.of_stream(told, wrote=wrote, following=following)


def run_export(options):
    from keras_deepskip.export import export

    report = export(
        _model_or_run(options),
        options.out,
        options.format,
        options.input_range,
        **_fields(options, ("mask", "threshold", "serving", "max_batch_size")),
    )
    following = RUN_IT
    if options.format == "onnx" and options.run_folder:
        small = Path(options.out).with_suffix(".int8.onnx")
        following = keras_deepskip("quantize", "--run", options.run_folder, "--out", small)
    ending = summaries.of_export(report, wrote=[(report.path, "")], following=following)
    return Result(dataclasses.asdict(report), ending=ending)


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
    ending = Ending(
        f"{report.title()}:", *report.table(), wrote=[(report.path, "")],
        following=RUN_IT,
    )  # fmt: skip
    return Result(dataclasses.asdict(report), ending=ending)


def run_analyze(options):
    from keras_deepskip import analysis

    if options.model:
        model, expected = _load_model(options.model), None
    else:
        from keras_deepskip import build_model

        shape = (None, None, options.channels)
        model = build_model(shape, options.num_classes, **_chosen_model(options))
        expected = _closed_form(options)
    found = analysis.analyze(model, expected, options.size, options.size)
    headers, rows = found.table()
    following = None
    if not options.model:
        following = keras_deepskip("train", "--data", "FOLDER", "--out", "RUN")
        following = f"{' '.join(following)}, with the same options of the network"
    ending = Ending("", headers, rows, [found.explanation()], following=following)
    return Result({"parts": [dict(zip(headers, row, strict=True)) for row in rows]}, ending=ending)


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
        return Result({"backbones": list(BACKBONES)})
    from keras_deepskip.studies.timing import backbones

    found = backbones(log=print, **_fields(options, ("names", "size", "repeats", "out")))
    wrote = [(Path(options.out) / "backbones.md", "and .json")] if options.out else []
    ending = summaries.of_backbones(
        found, wrote=wrote,
        following=keras_deepskip("train", "--backbone", "NAME", "--data", "FOLDER", "--out", "RUN"),
    )  # fmt: skip
    return Result({"rows": found.rows, "settings": found.settings}, ending=ending)


def run_audit(options):
    from keras_deepskip import _files
    from keras_deepskip.data import Survey, audit
    from keras_deepskip.training import Recipe

    masks = _masks(options)
    survey = Survey.of(options.data, masks, options.group_by, verbose="auto")
    report = audit(survey, masks, **_fields(options, ("split_file", "seed", "group_by")))
    print(report.findings_text())
    wrote = []
    if isinstance(options.json, str):
        _files.write_json(options.json, report.to_dict())
        wrote.append((options.json, ""))
    following = "fix the errors above, and audit again"
    if report.ok:
        following = _next_training(options, Recipe(seed=options.seed))
    ending = Ending("The data:", *report.table(), wrote=wrote, following=following)
    return Result(report.to_dict(), 0 if report.ok else 1, ending)


def _next_training(options, recipe):
    """The command that trains on what was looked at, as it was read and split here."""
    from keras_deepskip.training.repeating import data_flags, recipe_flags

    how = _fields(options, ("split_file", "group_by"))
    return [
        *keras_deepskip("train", "--data", options.data, "--out", "RUN"),
        *recipe_flags(recipe.to_dict()),
        *data_flags({**_masks(options).to_dict(), **how}),
    ]


def run_plan(options):
    from keras_deepskip.data import Survey, load_split
    from keras_deepskip.training import Recipe, make_plan

    recipe = Recipe(**_fields(options, ("minutes", "steps", "epochs", "seed", "scene")))
    survey = Survey.of(options.data, _masks(options), options.group_by, verbose="auto")
    how = _fields(options, ("split_file", "group_by"))
    split = load_split(survey, seed=recipe.seed, **how)
    plan = make_plan(recipe, survey, split.train, split.val)
    following = _next_training(options, recipe)
    title = "What training would choose, and why:"
    ending = Ending(title, *summaries.table_of_plan(plan), following=following)
    return Result(plan.to_dict(), ending=ending)


def run_sample(options):
    from keras_deepskip.data import sample

    names = ("kind", "images", "seed", "height", "width", "count", "size", "contrast", "clutter")
    folder = sample(options.out, **_fields(options, (*names, "classes", "overwrite")))
    low, high = options.count
    row = [options.images, f"{options.height} x {options.width}", options.kind, f"{low} to {high}"]
    ending = Ending(
        "", ("images and masks", "pixels", "kind", "objects in each"), [row], wrote=[(folder, "")],
        following=keras_deepskip("audit", "--data", folder),
    )  # fmt: skip
    return Result({"folder": folder, "images": options.images}, ending=ending)


def run_import(options):
    from keras_deepskip.data import import_set

    names = ("layout", "source", "out", "limit", "overwrite", "separate_touching", "max_area")
    chosen = chosen_classes(options.classes)
    found = import_set(classes=chosen, **_fields(options, names))
    rows = [[found.images, ", ".join(found.classes), found.split_file is not None]]
    ending = Ending(
        "", ("images and masks", "classes", "own split"), rows, wrote=[(found.folder, "")],
        following=found.training_command(),
    )  # fmt: skip
    return Result(dataclasses.asdict(found), ending=ending)


def run_demo(options):
    from keras_deepskip import _files
    from keras_deepskip.demo import demo

    page = demo(options.out, seed=options.seed, epochs=options.epochs)
    found = _files.read_json(Path(options.out) / "run" / "evaluation.json", "an evaluation")
    ending = summaries.of_evaluation(
        found, wrote=[(page, OPEN)],
        following=keras_deepskip("train", "--data", "YOUR_FOLDER", "--out", "RUN"),
    )  # fmt: skip
    return Result({"report": page, **found}, ending=dataclasses.replace(ending, notes=()))


def run_benchmark(options):
    from keras_deepskip.studies import timing as benchmark

    names = ("rivals", "sizes", "batches", "modes", "repeats", "limit_s", "backend")
    chosen = _fields(options, names if options.scaling else (*names, "reference"))
    chosen = {name: value for name, value in chosen.items() if value is not None}
    run, name = (
        (benchmark.scaling, "scaling") if options.scaling else (benchmark.benchmark, "results")
    )
    result = run(options.out, log=_log, **chosen)
    wrote = [(Path(options.out) / f"{name}.md", "and .png, .json")]
    following = keras_deepskip("compare", "--data", "FOLDER_OF_SETS", "--out", "DIR")
    ending = summaries.of_benchmark(result, wrote=wrote, following=following)
    return Result(result, ending=ending)


def run_ablation(options):
    from keras_deepskip.studies.experiments import ABLATION, ablation

    rows = ablation(options.out, **_study(options))
    data = options.data or "FOLDER_OF_SETS"
    following = keras_deepskip("compare", "--data", data, "--out", "DIR")
    return _study_result(options, rows, ABLATION, following)


def run_compare(options):
    from keras_deepskip.studies.experiments import COMPARISON, compare

    rows = compare(options.out, **_study(options))
    return _study_result(options, rows, COMPARISON, summaries.training_of_best(rows, COMPARISON))


def _study_result(options, rows, study, following):
    out = Path(options.out)
    wrote = [(out / "report.md", "with tables and figures")]
    wrote += [(out / "results.csv", "one line per run")]
    facts = {"rows": rows, "report": out / "report.md"}
    if (out / REPORT).is_file():
        facts["page"] = out / REPORT
        wrote.append((facts["page"], OPEN))
    ending = summaries.of_study(rows, study.reference, wrote=wrote, following=following)
    return Result(facts, ending=ending)


_log = functools.partial(print, flush=True)


def _study(options):
    from keras_deepskip.studies.experiments import Category

    return {
        "log": _log,
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
    meanings = {"colors", "kind", "values"}
    if given.keys() & meanings:  # another meaning of the values than the run's
        known = dataclasses.replace(known, **dict.fromkeys(meanings))
    return dataclasses.replace(known, **given)
