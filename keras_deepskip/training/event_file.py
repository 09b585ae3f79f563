"""TensorBoard's event files, written without TensorFlow."""

import time
from pathlib import Path

import numpy as np

from keras_deepskip import _checks, _files


class EventFile:
    """A new TensorBoard event file in a folder of logs.

    It is built of the parts of tensorboardX, but not by its `SummaryWriter`: that one writes in a
    thread of its own, which loses the last events when the process is killed, and which a full
    disk ends without an error, so that the training that feeds it waits forever. Here each call
    writes at once, and fails at once.

    Args:
        folder: of the logs; made if it is not there. Older files in it stay, and TensorBoard shows
            them as one run.
        first_step: what older files hold of this step and later ones is no longer shown.

    Raises:
        ImportError: if tensorboardX is not installed.
        OSError: if a file cannot be written; it is named.

    Example:

    ```python
    events = EventFile("runs/first/logs/train", first_step=1)
    events.add_scalar("loss", 0.5, step=1)
    events.close()
    ```
    """

    def __init__(self, folder, first_step=1):
        _checks.require("tensorboardX", "tensorboardX", "writing TensorBoard logs")
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self.folder, self._parts = Path(folder), None
        with _files.writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # tensorboardX's own name has the second in it, which a second file may share.
            self._writer = EventsWriter(str(self.folder / "events"), f".{time.time_ns()}")
        start = SessionLog(status=SessionLog.START)
        self._write(Event(step=first_step, session_log=start))

    def add_scalar(self, tag, value, step):
        """Writes a number."""
        from tensorboardX import summary

        self._add(summary.scalar(tag, value), step)

    def add_picture(self, tag, picture, step):
        """Writes a picture, (H, W, 3) uint8."""
        from tensorboardX import summary

        self._add(summary.image(tag, picture, dataformats="HWC"), step)

    def add_text(self, tag, text, step):
        """Writes a text in Markdown."""
        from tensorboardX import summary

        self._add(summary.text(tag, text), step)

    def add_curve(self, tag, true, predicted, step):
        """Writes a curve of precision and recall by threshold.

        Args:
            true: array of booleans.
            predicted: array of probabilities, of the same size.
        """
        from tensorboardX import summary

        true, predicted = np.ravel(true), np.ravel(predicted).astype("float64")
        self._add(summary.pr_curve(tag, true, np.clip(predicted, 0, 1)), step)

    def add_parameters(self, parameters, metrics, step):
        """Writes hyper-parameters for the plugin HParams.

        Args:
            parameters: dict of numbers, booleans, texts; None is left out, all else is a text.
            metrics: tags of scalars in this folder that are shown beside them.
        """
        from tensorboardX import summary

        plain = {
            name: value if isinstance(value, str | bool | int | float) else str(value)
            for name, value in parameters.items()
            if value is not None
        }
        self._parts = summary.hparams(plain, dict.fromkeys(metrics, 0))
        for part in self._parts[:2]:  # the third says that the session has ended
            self._add(part, step)

    def end_session(self, step):
        """Tells HParams that the training has ended, if it was told of one."""
        if self._parts is not None:
            self._add(self._parts[2], step)

    def flush(self):
        """Has all that was added be in the file, whatever happens to the process."""
        with _files.writing(self.folder):
            self._writer.flush()

    def close(self):
        """Writes what is left, and closes the file."""
        with _files.writing(self.folder):
            self._writer.close()

    def _add(self, summary, step):
        from tensorboardX.proto.event_pb2 import Event

        self._write(Event(step=step, summary=summary))

    def _write(self, event):
        event.wall_time = time.time()
        with _files.writing(self.folder):
            self._writer.write_event(event)


def listed(facts):
    """A dict as a list of Markdown, as `EventFile.add_text` takes it."""
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())
