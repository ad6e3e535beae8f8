"""The pieces that known-bad evidence is made of: good evidence in, with one thing wrong out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from gauntlet.core.gates.contamination import microseconds
from gauntlet.core.gates.evidence import Evidence, Frame, need
from gauntlet.core.metrics import METRICS, PRIMARY
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.data import LeakageFinding
from gauntlet.core.records.evaluation import LatencyProfile, ProbeReport, SmokeCheck
from gauntlet.core.records.gates import Approval
from gauntlet.core.records.model import Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

SEED = 20_240_301
OTHER = "f" * 64
Change = Callable[[Evidence], Evidence]


def always(_: Evidence) -> bool:
    """Any evidence can be bad in this way."""
    return True


# ---- pieces ----------------------------------------------------------------------------------------


def random() -> np.random.Generator:
    """The one source of chance, the same every time."""
    import numpy as np

    return np.random.default_rng(SEED)


def frame_of(evidence: Evidence) -> Frame:
    """The evaluated holdout."""
    return need(evidence.frame, "evaluated holdout")


def with_frame(evidence: Evidence, **changes: Any) -> Evidence:
    """Columns of the holdout replaced."""
    return replace(evidence, frame=replace(frame_of(evidence), **changes))


def rescored(change: Callable[[Floats, np.random.Generator], Floats]) -> Change:
    """The candidate's scores replaced."""
    return lambda evidence: with_frame(evidence, candidate=change(frame_of(evidence).candidate.copy(), random()))


def only_rows(keep: Callable[[Frame], npt.NDArray[np.bool_]]) -> Change:
    """Only some rows, with an evaluation record that says so."""

    def change(evidence: Evidence) -> Evidence:
        frame = frame_of(evidence).only(keep(frame_of(evidence)))
        record = need(evidence.evaluation, "evaluation record").model_copy(update={"rows": len(frame)})
        return replace(evidence, frame=frame, evaluation=record)

    return change


def with_record(part: str, **changes: Any) -> Change:
    """Fields of one record of the evidence replaced."""

    def change(evidence: Evidence) -> Evidence:
        record = need(getattr(evidence, part), part)
        return replace(evidence, **{part: record.model_copy(update=changes)})

    return change


def without(part: str) -> Change:
    """One part of the evidence gone."""
    gone: dict[str, Any] = {part: None}
    return lambda evidence: replace(evidence, **gone)


def observed(kind: str, value: float | None, subject: str | None = None) -> Change:
    """The first observation of a kind (and subject) replaced by a value."""

    def change(evidence: Evidence) -> Evidence:
        found = list(need(evidence.observations, "measurements"))
        places = [place for place, item in enumerate(found) if item.kind == kind and subject in (None, item.subject)]
        place = need(next(iter(places), None), f"measurement of {kind}")
        found[place] = found[place].model_copy(update={"value": value})
        return replace(evidence, observations=tuple(found))

    return change


def unobserved(kind: str) -> Change:
    """All observations of a kind dropped."""

    def change(evidence: Evidence) -> Evidence:
        kept = tuple(item for item in need(evidence.observations, "measurements") if item.kind != kind)
        return replace(evidence, observations=kept)

    return change


def has(kind: str) -> Callable[[Evidence], bool]:
    """Whether something of this kind was measured."""
    return lambda evidence: any(item.kind == kind for item in evidence.observations or ())


def binary(evidence: Evidence) -> bool:
    """A binary model."""
    return evidence.spec.task is Task.BINARY


def championed(evidence: Evidence) -> bool:
    """There is a champion."""
    return evidence.champion is not None


def binary_championed(evidence: Evidence) -> bool:
    """A binary model with a champion."""
    return binary(evidence) and championed(evidence)


def timed(evidence: Evidence) -> bool:
    """The holdout has event times."""
    return evidence.frame is not None and evidence.frame.event_us is not None


def timed_championed(evidence: Evidence) -> bool:
    """The holdout has event times, and there is a champion."""
    return timed(evidence) and championed(evidence)


def odds(scores: Floats) -> Floats:
    """Log-odds of scores."""
    import numpy as np

    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def chance(odds: Floats) -> Floats:
    """Scores of log-odds."""
    import numpy as np

    return np.asarray(1 / (1 + np.exp(-odds)))


# ---- scores ----------------------------------------------------------------------------------------


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


# ---- rows ------------------------------------------------------------------------------------------


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


def champion_trained_later(evidence: Evidence) -> Evidence:
    """The champion's training ends after the holdout."""
    run = evidence.run.as_of
    return with_record("champion_facts", trained_through=run + timedelta(days=1))(evidence)


def champion_of_unknown_origin(evidence: Evidence) -> Evidence:
    """Nobody knows what the champion was trained on."""
    return with_frame(with_record("champion_facts", trained_through=None)(evidence), seen=None)


# ---- records ---------------------------------------------------------------------------------------


def leak_found(evidence: Evidence) -> Evidence:
    """The leakage task found a feature that gives the label away."""
    return _found("single_feature", "one feature alone ranks the label: AUC 0.999 > 0.980")(evidence)


def future_rows(evidence: Evidence) -> Evidence:
    """Rows that were not known yet when the data was read."""
    return _found("future.known_at", "12 of 20000 rows have known_at after the as-of time")(evidence)


def _found(check: str, sentence: str) -> Change:
    finding = LeakageFinding(check=check, outcome=Outcome.FAILED, sentence=sentence)
    return with_record("leakage", outcome=Outcome.FAILED, reason=sentence, findings=(finding,))


def green_with_a_red_finding(evidence: Evidence) -> Evidence:
    """A report that calls itself passed although a finding in it did not."""
    return with_record("leakage", findings=leak_found(evidence).leakage.findings)(evidence)  # type: ignore[union-attr]


def trained_here(evidence: Evidence) -> bool:
    """Whether the candidate was trained, and not derived from the champion's trees."""
    return evidence.trained is None or evidence.trained.derived_from is None


def comparable_trees(evidence: Evidence) -> bool:
    """Whether there is a champion with other trees, or with trees that can be called others."""
    return trained_here(evidence) and evidence.champion_facts is not None


def called_derived(evidence: Evidence) -> Evidence:
    """Rows learnt by heart, in trees that are not the champion's but are said to be."""
    facts = need(evidence.champion_facts, "facts about the champion").model_copy(update={"tree_digest": OTHER})
    said = with_record("trained", derived_from=evidence.champion)(memorised(evidence))
    return replace(said, champion_facts=facts)


def memorised(evidence: Evidence) -> Evidence:
    """Ten times the tolerated gap between training rows and holdout."""
    metric = getattr(evidence.spec.gates.config("overfit"), "metric", None) or PRIMARY[evidence.spec.task]
    gap = evidence.spec.gates.config("overfit").gap  # type: ignore[attr-defined]
    trained = need(evidence.trained, "training record")
    known = trained.metrics[f"train.{metric}"]
    metrics = {**trained.metrics, f"train.{metric}": known + METRICS[metric].sign * 10 * gap}
    return with_record("trained", metrics=metrics)(evidence)


def cut_off(evidence: Evidence) -> Evidence:
    """The best iteration is the last one allowed."""
    return with_record("trained", best_iteration=need(evidence.trained, "training record").iterations_cap)(evidence)


def smoke(name: str, passed: bool | None) -> Change:
    """One smoke check failed, or (None) not made."""

    def change(evidence: Evidence) -> Evidence:
        probe = need(evidence.probe, "probe report")
        checks = [check for check in probe.checks if check.name != name]
        if passed is not None:
            checks.append(SmokeCheck(name=name, passed=passed, detail="mutated"))
        return with_record("probe", checks=tuple(checks))(evidence)

    return change


def slower(factor: float) -> Change:
    """Every latency quantile this many times its limit."""

    def change(evidence: Evidence) -> Evidence:
        config = evidence.spec.gates.config("latency")
        n = getattr(config, "minimum_calls", 1000)
        slow = {name: factor * getattr(config, name) for name in ("p50_us", "p95_us", "p99_us")}
        profile = LatencyProfile(n=n, max_us=slow["p99_us"], **slow)
        return with_record("probe", candidate_latency=profile)(evidence)

    return change


def slower_than_champion(evidence: Evidence) -> Evidence:
    """Within every absolute limit, yet ten times the champion."""
    probe, config = need(evidence.probe, "probe report"), evidence.spec.gates.config("latency")
    n, p50 = getattr(config, "minimum_calls", 1000), getattr(config, "p50_us", 0.0) * 0.99
    ours = LatencyProfile(n=n, p50_us=p50, p95_us=p50, p99_us=p50, max_us=p50)
    theirs = LatencyProfile(n=n, p50_us=p50 / 10, p95_us=p50, p99_us=p50, max_us=p50)
    return replace(evidence, probe=probe.model_copy(update={"candidate_latency": ours, "champion_latency": theirs}))


def other_probe(evidence: Evidence) -> Evidence:
    """The probe was of another release."""
    probe: ProbeReport = need(evidence.probe, "probe report")
    return replace(evidence, probe=probe.model_copy(update={"candidate": OTHER}))


def release(**changes: Any) -> Change:
    """Fields of the release reference replaced."""

    def change(evidence: Evidence) -> Evidence:
        release = need(evidence.trained, "training record").release.model_copy(update=changes)
        return with_record("trained", release=release)(evidence)

    return change


def word(**changes: Any) -> Change:
    """One approval, good but for what is changed."""

    def change(evidence: Evidence) -> Evidence:
        config = evidence.spec.gates.config("approval")
        word = Approval(
            model=evidence.run.model,
            run=evidence.run.run,
            approver=config.approvers[0],  # type: ignore[attr-defined]
            approved=True,
            reason="looks good to me",
            at=evidence.judged_at,
        )
        given = {key: value(evidence) if callable(value) else value for key, value in changes.items()}
        return replace(evidence, approvals=(word.model_copy(update=given),))

    return change


def steep(scores: Floats, _: np.random.Generator) -> Floats:
    """Odds to the fourth power: ranked the same, much too sure."""
    return chance(4 * odds(scores)) if scores.max() <= 1 else 4 * (scores - scores.mean()) + scores.mean()


def monotone_feature(evidence: Evidence) -> bool:
    """The spec declares a monotone constraint."""
    return bool(evidence.spec.training.monotone)


def noisy(scores: Floats, _: np.random.Generator) -> Floats:
    """Scores far outside of 0 to 1."""
    return scores + 2.0


def sure(evidence: Evidence) -> bool:
    """Scores are probabilities by default."""
    return binary(evidence) and not evidence.spec.gates.config("prediction_sanity").range  # type: ignore[attr-defined]


def overused(evidence: Evidence) -> Evidence:
    """One reading more than the budget."""
    return replace(evidence, holdout_reads=evidence.spec.gates.holdout_reads + 1)
