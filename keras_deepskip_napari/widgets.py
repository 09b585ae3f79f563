"""The two widgets that napari shows: find objects in the open layer, and open what was found."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from magicgui import widgets
from magicgui.types import FileDialogMode
from napari.layers import Image, Layer
from napari.utils.notifications import show_error
from napari.viewer import Viewer
from qtpy.QtCore import QCoreApplication, QObject, Signal

from keras_deepskip_napari.prediction import AXES, Cancelled, load_finder
from keras_deepskip_napari.results import layers_of, names_of

# All that Keras does is done in this one thread. It is none of Qt's, which napari's own workers are
# of: in those TensorFlow 2.21 ends the process when it is asked (PyQt 6.11, 2026-11-29).
THREAD = ThreadPoolExecutor(1, "keras_deepskip")


class FindObjects(widgets.Container):
    """Finds objects in the chosen image by a model, and adds them as labels.

    The model is loaded, and asked, in a thread beside the window's.

    Args:
        viewer: napari's viewer.
    """

    def __init__(self, viewer: Viewer):
        self._viewer, self._finder, self._cancelled = viewer, None, threading.Event()
        self.worker: Future | None = None  # what is at work
        self._relay = _Relay()
        self._relay.moved.connect(self._show_progress)
        self._relay.ended.connect(self._end)
        self.image = widgets.ComboBox(label="image", choices=self._images)
        self.model = widgets.FileEdit(
            label="model", filter="*.keras", nullable=True,
            tooltip="A .keras file, such as model.keras of a run; or a run's folder",
        )  # fmt: skip
        self.threshold = widgets.FloatSpinBox(
            label="threshold", min=0, max=1, step=0.01, value=0.5,
            tooltip="Probability above which a pixel is an object; first what the model holds",
        )  # fmt: skip
        self.separate = widgets.CheckBox(
            text="tell touching objects apart", tooltip="By their shape; first what the model holds"
        )
        self.axes = widgets.ComboBox(
            label="axes", choices=AXES,
            tooltip="What the axes beside height and width are: images of a stack, or channels",
        )  # fmt: skip
        self.find = widgets.PushButton(text="Find objects", enabled=False)
        self.cancel = widgets.PushButton(text="Cancel", enabled=False)
        self.bar = widgets.ProgressBar(value=0, min=0, max=1)
        self.told = widgets.Label(value="Choose a model")
        super().__init__(
            widgets=[
                self.image, self.model, self.threshold, self.separate, self.axes, self.find,
                self.cancel, self.bar, self.told,
            ]
        )  # fmt: skip
        self.model.changed.connect(self._load)
        self.find.changed.connect(self._find)
        self.cancel.changed.connect(self._cancelled.set)
        application = QCoreApplication.instance()
        if application is not None:  # which would wait for the thread
            application.aboutToQuit.connect(self._cancelled.set)

    def _images(self, _=None):
        """The image layers; napari asks again when layers come and go."""
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _load(self, path):
        """Loads the model that was chosen; one that is still loading then counts no more."""
        self._finder, self.find.enabled = None, False
        if path is None:
            return
        self.told.value = "Loading ..."

        def show(loading):
            if self.model.value == path:
                self._show(loading, self._show_model)

        self._start(show, load_finder, path)

    def _show_model(self, finder):
        point, self._finder, self.find.enabled = finder.point, finder, True
        self.threshold.value, self.separate.value = point.threshold, point.separate
        kind = "images" if finder.axes == 2 else "volumes"
        channels = f"{finder.channels} channel{'s' * (finder.channels > 1)}"
        self.told.value = (
            f"{finder.name}\n{kind} of {channels}\nsmallest object {point.min_area} pixels"
        )

    def _find(self):
        layer = self.image.value
        if layer is None:
            self._fail(ValueError("an image layer was expected. Received: none. Open an image"))
            return
        self._cancelled.clear()
        self.find.enabled, self.cancel.enabled = False, True
        options = {"axes": self.axes.value, "threshold": self.threshold.value}
        options |= {"separate": self.separate.value, "moved": self._moved}
        self._start(self._show_finding, self._finder.find, layer.as_layer_data_tuple(), **options)

    def _show_finding(self, finding):
        self._show(finding, self._show_found)

    def _moved(self, done, steps):
        """Called in the thread that is at work."""
        if self._cancelled.is_set():
            raise Cancelled
        self._relay.moved.emit(done, steps)

    def _show_progress(self, done, steps):
        self.bar.max, self.bar.value = steps, done

    def _show_found(self, found):
        self._show_progress(0, 1)
        self._viewer.add_layer(Layer.create(*found))
        self.told.value = f"{found[1]['metadata']['keras_deepskip']['objects']} objects"

    def _start(self, show, work, *arguments, **options):
        """Has the thread work; `show` is then given its `Future`, in the window's thread."""
        self.worker = THREAD.submit(work, *arguments, **options)
        self.worker.add_done_callback(lambda ended: self._relay.ended.emit(ended, show))

    def _end(self, ended, show):
        if self.worker is ended:
            self.worker, self.cancel.enabled = None, False
            self.find.enabled = self._finder is not None
        show(ended)

    def _show(self, ended, show):
        """Shows what the thread returned, or its error."""
        error = ended.exception()
        if isinstance(error, Cancelled):
            self._show_progress(0, 1)
            self.told.value = "Cancelled"
        elif error is not None:
            self._fail(error)
        else:
            show(ended.result())

    def _fail(self, error):
        self._show_progress(0, 1)
        self.told.value = "Not done"
        show_error(f"keras_deepskip: {error}")


class FoundObjects(widgets.Container):
    """Opens what `predict` has written, image by image: the image and its objects over it.

    Args:
        viewer: napari's viewer.
    """

    def __init__(self, viewer: Viewer):
        self._viewer = viewer
        self._shown: list[Layer] = []
        self.folder = widgets.FileEdit(
            label="folder",
            mode=FileDialogMode.EXISTING_DIRECTORY,
            nullable=True,
            tooltip="The folder that predict wrote to",
        )  # fmt: skip
        self.chosen = widgets.ComboBox(label="image", choices=self._names)
        self.previous = widgets.PushButton(text="Previous")
        self.next = widgets.PushButton(text="Next")
        super().__init__(widgets=[self.folder, self.chosen, self.previous, self.next])
        self.folder.changed.connect(self._open_folder)
        self.chosen.changed.connect(self._open)
        self.previous.changed.connect(lambda: self._go(-1))
        self.next.changed.connect(lambda: self._go(1))

    def _names(self, _=None):
        try:
            return [] if self.folder.value is None else names_of(self.folder.value)
        except FileNotFoundError:
            return []

    def _open_folder(self, folder):
        try:
            if folder is not None:  # the field was cleared
                names_of(folder)
        except FileNotFoundError as error:
            show_error(f"keras_deepskip: {error}")
        self.chosen.reset_choices()

    def _go(self, step):
        names = self.chosen.choices
        if names:
            self.chosen.value = names[(names.index(self.chosen.value) + step) % len(names)]

    def _open(self, name):
        """Shows an image in place of the one before."""
        for layer in self._shown:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._shown = []
        if name is None:
            return
        try:
            layers = layers_of(self.folder.value, name)
        except (ValueError, OSError, ImportError) as error:
            show_error(f"keras_deepskip: {error}")
            return
        self._shown = [Layer.create(*layer) for layer in layers]
        for layer in self._shown:
            self._viewer.add_layer(layer)


class _Relay(QObject):
    """Brings what the thread has to say to the window's thread."""

    moved = Signal(int, int)
    ended = Signal(object, object)
