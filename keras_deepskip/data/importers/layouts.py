"""The published sets that `import_set` reads: one row a set, with whom to cite and its licence."""

import dataclasses

from keras_deepskip.data.importers import _outline_sets as outlines
from keras_deepskip.data.importers import _pixel_sets as pixels
from keras_deepskip.data.importers import _shape_sets as shapes


@dataclasses.dataclass(frozen=True)
class Layout:
    """A set as it is published.

    Attributes:
        title: its name.
        categories: what it shows.
        read: function `(source, classes, **options)` that returns its entries and classes.
        expected: its folders and files, for errors.
        known: the names of all its classes; () if its files say it.
        classes: dict from class name to class id that is taken by default; None for all that the
            files name (COCO), or all as one (VIA, labelme).
        instances: whether it separates its objects.
        options: names of further options of `read`.
        citation, licence, home: of the set; empty for formats of the user's own images.
    """

    title: str
    categories: tuple
    read: object
    expected: str
    known: tuple = ()
    classes: object = None
    instances: bool = False
    options: tuple = ()
    citation: str = ""
    licence: str = ""
    home: str = ""


LAYOUTS = {
    "bbbc038": Layout(
        title="BBBC038 (2018 Data Science Bowl, stage 1, training images)",
        categories=("microorganisms", "minute pathological areas"),
        read=pixels.read_bbbc038,
        expected=pixels.BBBC038_LAYOUT,
        known=("nucleus",),
        classes={"nucleus": 1},
        instances=True,
        citation="Caicedo et al., Nucleus segmentation across imaging experiments: the 2018 Data "
        "Science Bowl, Nature Methods 16 (2019) 1247-1253, doi 10.1038/s41592-019-0612-7",
        licence="CC0 1.0",
        home="https://bbbc.broadinstitute.org/BBBC038",
    ),
    "emds6": Layout(
        title="EMDS-6 (Environmental Microorganism Image Dataset, sixth version)",
        categories=("microorganisms",),
        read=pixels.read_emds6,
        expected=pixels.EMDS6_LAYOUT,
        known=pixels.EMDS6_KINDS,
        classes=dict.fromkeys(pixels.EMDS6_KINDS, 1),
        citation="Zhao et al., EMDS-6: Environmental Microorganism Image Dataset Sixth Version, "
        "Frontiers in Microbiology 13 (2022) 829027, doi 10.3389/fmicb.2022.829027",
        licence="CC BY 4.0, as listed with its copy on figshare",
        home="https://figshare.com/articles/dataset/EMDS-6/17125025/1",
    ),
    "idrid": Layout(
        title="IDRiD (Indian Diabetic Retinopathy Image Dataset), part A",
        categories=("minute pathological areas",),
        read=pixels.read_idrid,
        expected=pixels.IDRID_LAYOUT,
        known=tuple(pixels.IDRID_CLASSES),
        classes={"microaneurysm": 1, "haemorrhage": 2, "hard_exudate": 3, "soft_exudate": 4},
        citation="Porwal et al., Indian Diabetic Retinopathy Image Dataset (IDRiD), Data 3(3) "
        "(2018) 25, doi 10.3390/data3030025",
        licence="CC BY 4.0",
        home="https://ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    ),
    "suim": Layout(
        title="SUIM (Semantic Segmentation of Underwater Imagery)",
        categories=("underwater objects",),
        read=pixels.read_suim,
        expected=pixels.SUIM_LAYOUT,
        known=pixels.SUIM_CLASSES[1:],
        classes={"diver": 1, "robot": 2, "fish": 3},
        citation="Islam et al., Semantic Segmentation of Underwater Imagery: Dataset and "
        "Benchmark, IROS 2020, arXiv 2004.01241",
        licence="MIT",
        home="https://irvlab.cs.umn.edu/resources/suim-dataset",
    ),
    "penn_fudan": Layout(
        title="Penn-Fudan pedestrians",
        categories=("pedestrians",),
        read=pixels.read_penn_fudan,
        expected=pixels.PENN_FUDAN_LAYOUT,
        known=("pedestrian",),
        classes={"pedestrian": 1},
        instances=True,
        citation="Wang, Shi, Song, Shen, Object Detection Combining Recognition and "
        "Segmentation, ACCV 2007",
        licence="none stated that we know of: ask its authors for other uses than research",
        home="https://www.cis.upenn.edu/~jshi/ped_html/",
    ),
    "isaid": Layout(
        title="iSAID, on the images of DOTA-v1.0",
        categories=("vehicles",),
        read=pixels.read_isaid,
        expected=pixels.ISAID_LAYOUT,
        known=tuple(pixels.ISAID_COLORS)[1:],
        classes={"Small_Vehicle": 1, "Large_Vehicle": 2},
        instances=True,
        citation="Waqas Zamir et al., iSAID: A Large-scale Dataset for Instance Segmentation in "
        "Aerial Images, CVPR Workshops 2019; Xia et al., DOTA, CVPR 2018",
        licence="academic use only",
        home="https://captain-whu.github.io/iSAID/",
    ),
    "coco": Layout(
        title="COCO 2017",
        categories=("pedestrians", "vehicles"),
        read=shapes.read_coco,
        expected=shapes.COCO_LAYOUT,
        instances=True,
        options=("max_area",),
        citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, "
        "arXiv 1405.0312",
        licence="annotations CC BY 4.0; images by the terms of Flickr, the licence of each is in "
        "the annotations",
        home="https://cocodataset.org",
    ),
    "via": Layout(
        title="images annotated with VIA (VGG Image Annotator)",
        categories=("coins", "any"),
        read=shapes.read_via,
        expected=shapes.VIA_LAYOUT,
        instances=True,
    ),
    "labelme": Layout(
        title="images annotated with labelme",
        categories=("coins", "any"),
        read=shapes.read_labelme,
        expected=shapes.LABELME_LAYOUT,
        instances=True,
    ),
    "yolo": Layout(
        title="images with outlines as Ultralytics' YOLO has them for segmentation",
        categories=("any",),
        read=outlines.read_yolo,
        expected=outlines.YOLO_LAYOUT,
        instances=True,
    ),
    "qupath": Layout(
        title="images with objects that QuPath exported as GeoJSON",
        categories=("minute pathological areas", "any"),
        read=outlines.read_qupath,
        expected=outlines.QUPATH_LAYOUT,
        instances=True,
    ),
    "cellpose": Layout(
        title="images with numbered masks, as Cellpose has them",
        categories=("microorganisms", "any"),
        read=pixels.read_cellpose,
        expected=pixels.CELLPOSE_LAYOUT,
        known=("cell",),
        classes={"cell": 1},
        instances=True,
    ),
}
