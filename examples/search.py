# %% [markdown]
# # A search over what the plan leaves free
#
#     pip install "keras-deepskip[search]"
#     python examples/search.py FOLDER OUT [TRIALS] [STEPS]
#
# The plan chooses by rules. Where there is time for twenty trainings, a search may do better on
# your data. Each trial is a run of few steps; its figure is the best object F1 on the validation
# images, so that the test images stay unseen. Killed at any moment, the same command resumes:
# finished trials are in `OUT/search.db`, and the one that was cut off is resumed.

# %%
import hashlib
import json
import sys
from pathlib import Path

from keras_deepskip.training import Recipe, train

# %% [markdown]
# ## What may vary
#
# Fields of `Recipe`, by Optuna's names for their kinds. The first trial is what the plan chooses
# for most sets of rare objects, so that the search begins with something that works.


# %%
def choices(trial):
    return {
        "crop_size": trial.suggest_categorical("crop_size", [96, 128, 160, 224]),
        "positive_share": trial.suggest_float("positive_share", 0.3, 1.0, step=0.1),
        "scene": trial.suggest_categorical("scene", ["any", "upright"]),
        "jitter": trial.suggest_categorical("jitter", [False, True]),
        "size_balance": trial.suggest_categorical("size_balance", [0.0, 0.5]),
        "learning_rate": trial.suggest_float("learning_rate", 1e-3, 6e-3, log=True),
    }


# %% [markdown]
# ## A trial
#
# Its folder is named by what it tries, so that a trial that was cut off continues there.


# %%
def best_f1(folder, out, fields, common, network):
    name = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:10]
    recipe = Recipe(**common, **fields)
    run = train(folder, out / name, recipe, resume="auto", verbose=0, **network)
    return max(row.get("val_object_f1") or 0.0 for row in run.history)


# %% [markdown]
# ## The search


# %%
def main(folder, out, trials=20, network=None, **common):
    import optuna

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="recipe",
        storage=f"sqlite:///{out / 'search.db'}",
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=0),
        load_if_exists=True,
    )
    if not study.trials:
        first = {"crop_size": 160, "scene": "any", "jitter": False, "size_balance": 0.0}
        study.enqueue_trial({**first, "positive_share": 0.8, "learning_rate": 3e-3})
    for trial in study.get_trials(states=[optuna.trial.TrialState.RUNNING]):  # cut off by a kill
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    done = len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE]))
    study.optimize(
        lambda trial: best_f1(folder, out, choices(trial), common, network or {}),
        n_trials=max(trials - done, 0),
    )
    fields = ", ".join(f"{name}={value!r}" for name, value in study.best_params.items())
    print(f"Object F1 {study.best_value:.3f} on validation images: Recipe({fields})")
    return study


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4, 5):
        sys.exit("usage: search.py FOLDER OUT [TRIALS] [STEPS]")
    numbers = [int(text) for text in sys.argv[3:]]
    main(sys.argv[1], sys.argv[2], *numbers[:1], steps=numbers[1] if len(numbers) > 1 else 300)
