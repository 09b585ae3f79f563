"""Do maps that are trained to part objects part them better than the shape of the mask does?

    python benchmarks/object_maps.py ../shared/data/nuclei_fluorescence ... --out rows.jsonl
        [--seeds 3] [--steps 600] [--kinds none distance cores votes centres rays]

Each line of the results is one training of the default network with one more output, and the scores
of its objects on the test images; `none` is the network alone, by components and by shape. All ways
choose their thresholds on the validation images, by AP at an IoU of 0.5; of a network with maps the
shape of its own mask is judged, too. A seed has one split, so figures of one seed are pairs.
Trainings that the file already has are not repeated: an interrupted benchmark resumes. Prints means
and standard deviations over the seeds. About five minutes of a core for each training.

The maps, each from the last features by a 3 x 3 convolution of 32 and a 1 x 1 convolution:

- distance: distance of a pixel to the edge of its object, 1 at the deepest (watershed of it)
- cores: pixels deeper than half of the object's depth, at most 3 (grown to the mask); the
  cross-entropy counts up to nine times as much where two objects are near (Ronneberger et al. 2015)
- votes: the way to the middle of the object (peaks of where all pixels point)
- centres: a bump at the middle, and votes (Cheng et al., "Panoptic-DeepLab", 2020)
- rays: ways to the edge in 32 directions, and the distance map (Schmidt et al., "Cell Detection
  with Star-convex Polygons", 2018); non-maximum suppression of polygons
"""

import argparse
import itertools
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import recipe as recipes  # the other benchmark: results and their table
import scipy.ndimage as ndi
import skimage.draw
import skimage.morphology
import skimage.segmentation
from keras import ops
from scipy.spatial import cKDTree

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import find_samples, load_pair, split_samples
from keras_deepskip.data.samples import load_objects
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.metrics import ObjectQuality
from keras_deepskip.objects import label_objects, separate_objects

CROP, BATCH = 160, 4
RAYS = 32
UNIT = 16.0  # pixels: lengths are learned in this unit
ANGLES = 2 * np.pi * np.arange(RAYS) / RAYS  # from the columns' axis to the rows'
THRESHOLDS = (0.3, 0.5, 0.7)  # of the mask
FIGURES = ("AP 0.5", "AP 0.7", "F1", "PQ", "count error", "parting, ms")


# ---- What is learned: (H, W, channels), the last one the weight of each pixel --------------------


def depths(labels):
    """Distance of each pixel to the edge of its object, and that of the object's deepest pixel."""
    depth, deepest = np.zeros(labels.shape), np.zeros(labels.shape)
    for number, box in enumerate(ndi.find_objects(labels), 1):
        if box is not None:
            inside = labels[box] == number
            own = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
            depth[box][inside] = own[inside]
            deepest[box][inside] = own.max()
    return depth, np.maximum(deepest, 1)


def to_centre(labels):
    """Rows and columns from each object pixel to the middle of its object, (H, W, 2)."""
    ids = np.unique(labels[labels > 0])
    middle = np.zeros((labels.max() + 1, 2))
    if len(ids):
        middle[ids] = ndi.center_of_mass(labels > 0, labels, ids)
    return (middle[labels] - np.stack(np.indices(labels.shape), -1)) * (labels > 0)[..., None]


def distance_target(labels):
    depth, deepest = depths(labels)
    return np.stack([depth / deepest, np.ones(labels.shape)], -1)


def cores_target(labels):
    depth, deepest = depths(labels)
    core = (labels > 0) & (depth > np.minimum(deepest / 2, 3))
    return np.stack([core, 1 + 8 * nearness(labels)], -1)


def nearness(labels):
    """From 0 to 1 where two objects are near: a Gauss curve of the distances to both, 5 pixels."""
    ids = np.unique(labels[labels > 0])
    if len(ids) < 2:
        return np.zeros(labels.shape)
    first = np.full(labels.shape, np.inf)
    second = first.copy()
    for number, box in enumerate(ndi.find_objects(labels), 1):
        if box is None:
            continue
        wide = tuple(slice(max(s.start - 15, 0), s.stop + 15) for s in box)
        away = ndi.distance_transform_edt(labels[wide] != number)
        second[wide] = np.minimum(second[wide], np.maximum(first[wide], away))
        first[wide] = np.minimum(first[wide], away)
    return np.exp(-((first + second) ** 2) / 50)


def votes_target(labels):
    return np.concatenate([to_centre(labels) / UNIT, (labels > 0)[..., None]], -1)


def centres_target(labels):
    way = to_centre(labels)
    bump = np.exp(-(way**2).sum(-1) / 8) * (labels > 0)
    return np.concatenate([bump[..., None], way / UNIT, (labels > 0)[..., None]], -1)


def rays_target(labels):
    rays = np.zeros((*labels.shape, RAYS))
    end = np.array(labels.shape) - 1
    for ray, angle in enumerate(ANGLES):
        going, length = np.argwhere(labels), 0
        while len(going):
            length += 1
            at = going + np.rint(length * np.array([np.sin(angle), np.cos(angle)])).astype(int)
            same = ((at >= 0) & (at <= end)).all(1)
            same[same] = labels[tuple(at[same].T)] == labels[tuple(going[same].T)]
            going = going[same]
            rays[(*going.T, ray)] += 1
    depth, deepest = depths(labels)
    shape = [(depth / deepest)[..., None], rays / UNIT, (labels > 0)[..., None]]
    return np.concatenate(shape, -1)


# ---- Training ------------------------------------------------------------------------------------


def cross_entropy(target, scores, weight):
    """Mean binary cross-entropy of scores, by weight."""
    losses = ops.maximum(scores, 0) - scores * target + ops.log1p(ops.exp(-ops.abs(scores)))
    return ops.sum(losses * weight) / ops.sum(ops.ones_like(weight))


def mean_error(target, values, weight):
    """Mean absolute error of the pixels that weigh."""
    errors = ops.mean(ops.abs(values - target), axis=-1)
    return ops.sum(errors * weight) / (ops.sum(weight) + 1)


def map_loss(scored):
    """The loss of maps whose first `scored` channels are scores, and whose others are lengths."""

    def loss(true, predicted):
        weight, everywhere = true[..., -1], ops.ones_like(true[..., -1])
        total = 0.0
        if scored:
            own = everywhere if true.shape[-1] > 2 else weight
            total += cross_entropy(true[..., 0], predicted[..., 0], own)
        if true.shape[-1] > 2:
            total += mean_error(true[..., scored:-1], predicted[..., scored:], weight)
        return total

    return loss


class Crops(keras.utils.PyDataset):
    """Crops of images with masks and maps, half of them on an object, flipped and turned."""

    def __init__(self, images, kind, steps, seed):
        super().__init__()
        self.images, self.kind, self.steps, self.seed = images, kind, steps, seed
        for image in images:
            extra = [] if kind == "none" else [KINDS[kind].target(image["labels"])]
            planes = [image["image"], image["mask"][..., None], *extra]
            planes = np.concatenate([p.astype("float32") for p in planes], -1)
            sides = [(0, max(CROP - size, 0)) for size in planes.shape[:2]]
            image["planes"] = np.pad(planes, [*sides, (0, 0)])
            image["places"] = np.argwhere(image["mask"] > 0)

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        draw = np.random.default_rng([self.seed, step])
        crops = np.stack([self.crop(draw) for _ in range(BATCH)])
        images, masks, maps = crops[..., :3], crops[..., 3:4], crops[..., 4:]
        return images, masks if self.kind == "none" else (masks, maps)

    def crop(self, draw):
        image = self.images[draw.integers(len(self.images))]
        planes, places = image["planes"], image["places"]
        room = np.array(planes.shape[:2]) - CROP
        corner = draw.integers(room + 1)
        if draw.random() < 0.5 and len(places):
            corner = places[draw.integers(len(places))] - draw.integers(CROP, size=2)
        top, left = np.clip(corner, 0, room)
        crop = planes[top : top + CROP, left : left + CROP]
        for turn in (transposed, upside_down, mirrored):
            if draw.random() < 0.5:
                crop = turn(crop, self.kind)
        return crop


def transposed(planes, kind):
    return redirected(planes.swapaxes(0, 1), kind, [1, 0], [1, 1], RAYS // 4 - np.arange(RAYS))


def upside_down(planes, kind):
    return redirected(planes[::-1], kind, [0, 1], [-1, 1], -np.arange(RAYS))


def mirrored(planes, kind):
    return redirected(planes[:, ::-1], kind, [0, 1], [1, -1], RAYS // 2 - np.arange(RAYS))


def redirected(planes, kind, order, signs, rays):
    """Turned planes, with the directions that their maps hold turned too."""
    planes = planes.copy()
    if kind in ("votes", "centres"):
        start = 4 + (kind == "centres")
        planes[..., start : start + 2] = planes[..., start:][..., order] * signs
    if kind == "rays":
        planes[..., 5 : 5 + RAYS] = planes[..., 5:][..., rays % RAYS]
    return planes


def network(kind, mean, variance):
    """The default network, with one more output for the maps of a kind."""
    model = build_model(mean=list(mean), variance=list(variance))
    if kind == "none":
        return model
    features = model.get_layer("crop").output
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="maps_conv")(features)
    x = keras.layers.Conv2D(KINDS[kind].channels, 1, dtype="float32", name="maps")(x)
    return keras.Model(model.input, [model.output, x])


def trained(kind, images, steps, seed):
    """A network after so many steps, with the learning rate of `train`."""
    keras.utils.set_random_seed(seed)
    pixels = [image["image"] for image in images]
    mean = np.mean([p.mean((0, 1)) for p in pixels], 0)
    variance = np.mean([(p.astype(float) ** 2).mean((0, 1)) for p in pixels], 0) - mean**2
    model = network(kind, mean, variance)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=3e-3, warmup_steps=steps // 20
    )
    losses = SmallObjectLoss()
    if kind != "none":
        losses = [losses, map_loss(KINDS[kind].scored)]
    model.compile(keras.optimizers.Adam(schedule), losses)
    model.fit(Crops(images, kind, steps, seed), epochs=1, shuffle=False, verbose=0)
    return model


# ---- From maps to objects ------------------------------------------------------------------------


def by_components(mask, maps):
    return label_objects(mask)[0]


def by_shape(mask, maps):
    return separate_objects(mask)[0]


def by_distance(mask, maps, rise):
    depth = ndi.gaussian_filter(sigmoid(maps[..., 0]), 1)
    peaks = label_objects(skimage.morphology.h_maxima(depth, rise) > 0)[0]
    return grown(peaks, -depth, mask)


def by_cores(mask, maps, threshold):
    cores = label_objects(mask & (sigmoid(maps[..., 0]) > threshold))[0]
    return grown(cores, ndi.distance_transform_edt(cores == 0), mask)


def by_votes(mask, maps, radius, least):
    at = pointed_at(maps)
    inside = np.argwhere(mask)
    seen = np.zeros(mask.shape)
    np.add.at(seen, tuple(np.rint(at[mask]).astype(int).T), 1)
    return nearest_peak(ndi.gaussian_filter(seen, 1.5), radius, least, mask, at, inside)


def by_centres(mask, maps, radius, least):
    heat = sigmoid(maps[..., 0])
    return nearest_peak(heat, radius, least, mask, pointed_at(maps[..., 1:]), np.argwhere(mask))


def by_rays(mask, maps, threshold):
    score = sigmoid(maps[..., 0])
    labels, number = np.zeros(mask.shape, int), 0
    order = np.argsort(-score, axis=None)
    order = order[score.ravel()[order] > threshold]
    for row, column in zip(*np.unravel_index(order, mask.shape), strict=True):
        if labels[row, column]:
            continue
        lengths = np.maximum(maps[row, column, 1:], 0) * UNIT + 0.5  # to the edge of the pixel
        rows, columns = row + lengths * np.sin(ANGLES), column + lengths * np.cos(ANGLES)
        inside = skimage.draw.polygon(rows, columns, mask.shape)
        taken = labels[inside] > 0
        if len(taken) and taken.mean() < 0.4:
            number += 1
            labels[inside] = np.where(taken, labels[inside], number)
    return labels


def sigmoid(scores):
    return 1 / (1 + np.exp(-scores))


def pointed_at(maps):
    """The place that each pixel points at, inside the image."""
    places = np.stack(np.indices(maps.shape[:2]), -1) + maps[..., :2] * UNIT
    return np.clip(places, 0, np.array(maps.shape[:2]) - 1)


def nearest_peak(heat, radius, least, mask, at, inside):
    """Gives each pixel of a mask to the peak that is nearest to where it points."""
    peaks = (ndi.maximum_filter(heat, 2 * radius + 1) == heat) & (heat > least)
    middles = np.array(ndi.center_of_mass(peaks, *label_objects_of(peaks)))
    labels = np.zeros(mask.shape, int)
    if len(middles) and len(inside):
        labels[mask] = cKDTree(middles).query(at[mask])[1] + 1
    return labels if len(middles) else label_objects(mask)[0]


def label_objects_of(peaks):
    labels, count = label_objects(peaks)
    return labels, np.arange(1, count + 1)


def grown(markers, height, mask):
    """Markers grown over the mask by a watershed; components without a marker are objects."""
    markers = np.where(mask, markers, 0)
    components, _ = label_objects(mask)
    marked = np.isin(components, np.unique(components[markers > 0]))
    markers = np.where(mask & ~marked, components + markers.max(), markers)
    return skimage.segmentation.watershed(height, markers, mask=mask)


class Kind:
    """A kind of maps: what is learned, and how objects come of it."""

    def __init__(self, target, channels, scored, part, **grid):
        self.target, self.channels, self.scored, self.part = target, channels, scored, part
        names, values = list(grid), itertools.product(*grid.values())
        self.choices = [dict(zip(names, chosen, strict=True)) for chosen in values]


KINDS = {
    "distance": Kind(distance_target, 1, 1, by_distance, rise=(0.03, 0.07, 0.15, 0.3)),
    "cores": Kind(cores_target, 1, 1, by_cores, threshold=(0.3, 0.5, 0.7, 0.85, 0.95)),
    "votes": Kind(votes_target, 2, 0, by_votes, radius=(3, 6, 12), least=(0.3, 1, 3)),
    "centres": Kind(centres_target, 3, 1, by_centres, radius=(3, 6, 12), least=(0.1, 0.2, 0.4)),
    "rays": Kind(rays_target, RAYS + 1, 1, by_rays, threshold=(0.2, 0.3, 0.4, 0.5, 0.6)),
}
PLAIN = {  # of the mask alone
    "components": Kind(None, 0, 0, by_components),
    "shape": Kind(None, 0, 0, by_shape),
}


# ---- Judging -------------------------------------------------------------------------------------


def predicted(model, images):
    """Outputs of each image: probabilities (H, W), and maps (H, W, channels) or None."""
    for image in images:
        outputs = model.predict_on_batch(image["image"][None])
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs, [None]]
        yield np.asarray(outputs[0])[0, ..., 0], outputs[1][0]


def scores(kind, images, outputs, smallest, mask_threshold, **choice):
    """Figures of the objects of all images, with one choice of thresholds."""
    quality, seconds = ObjectQuality(), 0.0
    for image, (probabilities, maps) in zip(images, outputs, strict=True):
        mask = probabilities > mask_threshold
        start = time.perf_counter()
        labels = kind.part(mask, None if maps is None else np.asarray(maps), **choice)
        seconds += time.perf_counter() - start
        areas = np.bincount(labels.ravel())
        labels = np.where(areas[labels] >= smallest, labels, 0)
        quality.update(image["mask"], (labels > 0).astype(int), image["labels"], labels)
    found = [quality.average_precision(t) for t in (0.5, 0.7)]
    panoptic = quality.panoptic()
    own = [*found, panoptic["rq"], panoptic["pq"], quality.count_error()["mean_absolute"]]
    return dict(zip(FIGURES, [*own, 1e3 * seconds / len(images)], strict=True))


def judged(kind, model, val, test, smallest):
    """Figures on the test images, with the thresholds that are best on the validation images."""
    outputs = list(predicted(model, val))
    choices = [{"mask_threshold": t, **c} for t in THRESHOLDS for c in kind.choices]
    best = max(choices, key=lambda c: scores(kind, val, outputs, smallest, **c)["AP 0.5"])
    figures = scores(kind, test, list(predicted(model, test)), smallest, **best)
    return {**figures, "choice": best}


def read(samples):
    """Images, masks and object numbers."""
    found = []
    for sample in samples:
        image, mask = load_pair(sample, 3)
        found.append({"image": image, "mask": mask, "labels": load_objects(sample, mask)})
    return found


# ---- The command ---------------------------------------------------------------------------------


def main():
    """Trains and judges what is missing, and prints the table."""
    options = arguments()
    done = recipes.results(options.out)
    for seed, folder, kind in itertools.product(
        range(options.seeds), options.folders, options.kinds
    ):
        key = [folder.name, kind, seed, options.steps]
        if key in [row["key"] for row in done]:
            continue
        rows = [{"key": key, **row} for row in train_and_judge(folder, kind, seed, options.steps)]
        recipes.note(options.out, done, rows)
    print(table(done, options.steps))


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of images, masks and instances")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    kinds = ("none", *KINDS)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    return parser.parse_args()


def train_and_judge(folder, kind, seed, steps):
    """A row of figures for each way from this training's outputs to objects."""
    split = split_samples(find_samples(folder), seed=seed)
    train, val, test = map(read, (split.train, split.val, split.test))
    areas = np.concatenate([np.bincount(image["labels"].ravel())[1:] for image in train])
    smallest = np.percentile(areas[areas > 0], 2)
    start = time.perf_counter()
    model = trained(kind, train, steps, seed)
    seconds = round(time.perf_counter() - start, 1)
    of_maps = {kind: KINDS[kind], f"shape, beside {kind}": PLAIN["shape"]} if kind in KINDS else {}
    for name, way in (of_maps or PLAIN).items():
        figures = judged(way, model, val, test, smallest)
        yield {"way": name, **figures, "weights": model.count_params(), "training, s": seconds}


def table(done, steps):
    """Means and standard deviations of all seeds, a row for each folder and way."""
    names = [*FIGURES, "weights"]
    rows = [
        [*key, *(recipes.mean_and_spread([row[name] for row in own]) for name in names), len(own)]
        for key, own in recipes.grouped(done, steps, lambda row: row["way"])
    ]
    return markdown_table(["set", "way", *names, "seeds"], rows)


if __name__ == "__main__":
    main()
