"""Known-bad scores and rows of the holdout, made of good ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gauntlet.core.gates.contamination import microseconds
from gauntlet.core.gates.evidence import Evidence, Frame, need
from gauntlet.core.gates.mutate import Change, binary, frame_of, random, with_frame, with_record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


def odds(scores: Floats) -> Floats:
    """Log-odds of scores."""
    import numpy as np

    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def chance(odds: Floats) -> Floats:
    """Scores of log-odds."""
    import numpy as np

    return np.asarray(1 / (1 + np.exp(-odds)))


def shuffled(scores: Floats, random: np.random.Generator) -> Floats:
    """As of a model that learnt shuffled labels."""
    return random.permutation(scores)


def constant(scores: Floats, _: np.random.Generator) -> Floats:
    """The same score for every row."""
    scores[...] = scores.mean(axis=0)
    return scores


def mostly_shuffled(scores: Floats, random: np.random.Generator) -> Floats:
    """As of a model that had its best column permuted."""
    import numpy as np

    places = np.flatnonzero(random.random(len(scores)) < 0.8)
    scores[places] = scores[random.permutation(places)]
    return scores


def some_nan(scores: Floats, _: np.random.Generator) -> Floats:
    """A few scores are NaN."""
    scores[:: max(1, len(scores) // 5)] = float("nan")
    return scores


def nan_champion(evidence: Evidence) -> Evidence:
    """A few of the champion's scores are NaN."""
    champion = need(frame_of(evidence).champion, "champion scores").copy()
    return with_frame(evidence, champion=some_nan(champion, random()))


def infinite(scores: Floats, _: np.random.Generator) -> Floats:
    """One score is infinite."""
    scores[0] = float("inf")
    return scores


def naive_scores(evidence: Evidence) -> Evidence:
    """The naive scores in place of the candidate's."""
    naive = need(frame_of(evidence).naive, "naive scores")
    return with_frame(evidence, candidate=naive.copy())


def worse_than_champion(evidence: Evidence) -> Evidence:
    """The champion with most of its rows shuffled: worse by far more than any margin."""
    champion = need(frame_of(evidence).champion, "champion scores")
    return with_frame(evidence, candidate=mostly_shuffled(champion.copy(), random()))


def the_champion_again(evidence: Evidence) -> Evidence:
    """The very same scores and the very same data: nothing to gain by promoting."""
    facts = need(evidence.champion_facts, "facts about the champion")
    same = with_frame(evidence, candidate=need(frame_of(evidence).champion, "champion scores").copy())
    return with_record("sidecar", trained_through=facts.trained_through)(same)


def one_bad_slice(evidence: Evidence) -> Evidence:
    """The largest slice of the first declared column shuffled, the rest made perfect: the average shines."""
    import numpy as np

    frame, column = frame_of(evidence), next(iter(evidence.spec.gates.config("slices").columns))
    texts = np.array([str(value) for value in frame.columns[column]], dtype=object)
    names, counts = np.unique(texts, return_counts=True)
    bad = np.flatnonzero(texts == names[counts.argmax()])
    scores = np.where(frame.label == 1, 0.9, 0.1) if binary(evidence) else frame.label.copy()
    scores[bad] = frame.candidate[random().permutation(bad)]
    return with_frame(evidence, candidate=scores)


def disfavoured(evidence: Evidence) -> Evidence:
    """One group of the first protected attribute pushed to the wrong side of the threshold."""
    import numpy as np

    frame, config = frame_of(evidence), evidence.spec.gates.config("fairness")
    group = frame.columns[config.columns[0]]
    first = group == sorted({str(value) for value in group if value is not None})[0]
    wrong = 0.0 if getattr(config, "favourable", "above") == "above" else 1.0
    return with_frame(evidence, candidate=np.where(first, wrong, frame.candidate))


def no_column(gate: str) -> Change:
    """The gate's columns gone from the holdout."""

    def change(evidence: Evidence) -> Evidence:
        gone = set(evidence.spec.gates.config(gate).columns)
        kept = {name: values for name, values in frame_of(evidence).columns.items() if name not in gone}
        return with_frame(evidence, columns=kept)

    return change


def null_column(gate: str) -> Change:
    """The gate's columns without any value."""

    def change(evidence: Evidence) -> Evidence:
        import numpy as np

        gone = set(evidence.spec.gates.config(gate).columns)
        empty = np.full(len(frame_of(evidence)), None, dtype=object)
        columns = {name: empty if name in gone else values for name, values in frame_of(evidence).columns.items()}
        return with_frame(evidence, columns=columns)

    return change


def steep(scores: Floats, _: np.random.Generator) -> Floats:
    """Odds to the fourth power: ranked the same, much too sure."""
    return chance(4 * odds(scores)) if scores.max() <= 1 else 4 * (scores - scores.mean()) + scores.mean()


def noisy(scores: Floats, _: np.random.Generator) -> Floats:
    """Scores far outside of 0 to 1."""
    return scores + 2.0


def first_rows(count: int) -> Callable[[Frame], npt.NDArray[np.bool_]]:
    """Keeps a few rows."""

    def keep(frame: Frame) -> npt.NDArray[np.bool_]:
        import numpy as np

        return np.arange(len(frame)) < count

    return keep


def one_class(frame: Frame) -> npt.NDArray[np.bool_]:
    """Keeps the rows of one class."""
    import numpy as np

    return np.asarray(frame.label == 0)


def rows_from_training(evidence: Evidence) -> Evidence:
    """A tenth of the holdout moved to before the end of the candidate's training."""
    frame = frame_of(evidence)
    times = need(frame.event_us, "event times").copy()
    end = microseconds(need(need(evidence.sidecar, "sidecar").trained_through, "end of training"))
    times[: max(1, len(frame) // 10)] = end - 1
    return with_frame(evidence, event_us=times)


def repeated_rows(evidence: Evidence) -> Evidence:
    """Half of the holdout is the other half again."""
    frame = frame_of(evidence)
    keys = frame.row_key.copy()
    keys[len(keys) // 2 :] = keys[: len(keys) - len(keys) // 2]
    return with_frame(evidence, row_key=keys)


def seen_by_champion(evidence: Evidence) -> Evidence:
    """A tenth of the rows were in the champion's training."""
    import numpy as np

    seen = np.zeros(len(frame_of(evidence)), dtype=bool)
    seen[: max(5, len(seen) // 10)] = True
    return with_frame(evidence, seen=seen)
