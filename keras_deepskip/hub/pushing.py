"""`push_to_hub`: a run's model, its card and its figures, in one commit."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip._checks import require
from keras_deepskip._hub_files import MODEL, PIP, HubAddress, hub_address
from keras_deepskip.data import write_png
from keras_deepskip.drawing import draw_comparison
from keras_deepskip.hub.model_card import model_card
from keras_deepskip.inference import evaluate
from keras_deepskip.metrics.object_counts import without_ignored
from keras_deepskip.training import Run

CARD = "README.md"
FIGURES = "evaluation.json"
PLAN = "plan.json"


def push_to_hub(
    run: Run,
    repo_id: str,
    licence: str,
    *,
    pictures: int = 0,
    private: bool = False,
    revision: str | None = None,
    verbose: int | str = "auto",
) -> str:
    """Puts a run's model on the Hugging Face Hub, with a card of what it finds.

    Evaluates the run on its test images, and commits together: `model.keras`, which
    `load_model("hf://user/name")` loads on any backend; the card, `README.md`; the figures,
    `evaluation.json`; and the plan, `plan.json`. The repository is made if it is not there. Log in
    before: `hf auth login`, or the variable `HF_TOKEN`.

    No image of the data is sent unless `pictures` asks for it: test images may not be yours to
    publish. Nor are names of files or folders.

    Args:
        run: a `Run`.
        repo_id: `user/name`, or `organization/name`.
        licence: licence of the model, by the hub's name, such as `"apache-2.0"`, `"cc-by-4.0"` or
            `"other"`.
        pictures: how many test images the card shows, each with its truth and the prediction.
        private: whether a new repository is seen by its owners alone.
        revision: a branch that exists; None is the main one.
        verbose: as in `evaluate`.

    Returns:
        The address of what was committed: `hf://user/name@COMMIT`. It gives this very model for as
        long as the repository is there.

    Raises:
        ImportError: if huggingface_hub is not installed.
        ValueError: if `repo_id` or `licence` is no such text.
        FileNotFoundError: if the run has no whole epoch, or its images are not there.
        ConnectionError, PermissionError: if the hub does not answer, or refuses.

    Example:

    ```python
    address = push_to_hub(Run.load("runs/first"), "lab/lesions", "cc-by-4.0")
    model = keras_deepskip.load_model(address)
    ```
    """
    hub = require("huggingface_hub", PIP, "`push_to_hub`")
    address = hub_address(f"hf://{repo_id}")
    if address.revision is not None:
        raise ValueError(
            "`repo_id` must be USER/NAME, without a revision: each push is a new one. Received: "
            f"repo_id={repo_id!r}. Leave it out; a branch that exists is named by `revision`"
        )
    repo_id = address.repo
    _checks.check_integer("pictures", pictures, minimum=0)
    if not isinstance(licence, str) or not licence.strip():
        raise ValueError(
            "`licence` must be a licence by the hub's name, such as 'apache-2.0', 'cc-by-4.0' or "
            f"'other'. Received: licence={licence!r}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_files(run, folder, repo_id, licence, pictures, verbose)
        with _told(repo_id):
            api = hub.HfApi()
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id, folder_path=folder, revision=revision,
                commit_message=f"A model of keras_deepskip {run.versions['keras_deepskip']}",
            )  # fmt: skip
    return str(HubAddress(repo_id, commit.oid))


def _write_files(run, folder, repo_id, licence, pictures, verbose):
    """Writes all that is committed."""
    run.model.save(folder / MODEL)
    shown: list[str] = []

    def show(image):
        if len(shown) < pictures:
            name = f"test_{len(shown) + 1}.png"
            write_png(folder / name, _picture(image))
            shown.append(name)

    found = evaluate(run, each=show, verbose=verbose)
    figures = {name: value for name, value in found.to_dict().items() if name != "worst"}
    _files.write_json(folder / FIGURES, figures)
    _files.write_json(folder / PLAN, run.plan.to_dict())
    _files.write_text(folder / CARD, model_card(run, found, repo_id, licence, shown))


def _picture(judged):
    """Image, truth and prediction of a `JudgedImage`, by the objects that it was judged by."""
    ignored = judged.mask == judged.ignore_class
    truth = np.where(ignored, 0, judged.mask)
    labels = (
        np.where(ignored, 0, judged.true_labels),
        without_ignored(judged.predicted_labels, ignored),
    )
    return draw_comparison(judged.image, truth, judged.predicted, labels)


@contextlib.contextmanager
def _told(repo_id):
    """Tells errors of the hub as errors of Python, with the fix."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalTokenNotFoundError

    login = "Log in as one who may write there: hf auth login, or the variable HF_TOKEN"
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise PermissionError(f"{repo_id}: the hub takes models of known users. {login}") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise PermissionError(f"{repo_id}: the hub refuses ({status}). {login}") from error
        raise ConnectionError(f"{repo_id}: the hub answers with an error: {error}") from error
    except HTTPError as error:
        raise ConnectionError(f"{repo_id}: the hub could not be reached: {error}") from error
