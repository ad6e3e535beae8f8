"""A process that may die of a model: ``load FOLDER``, or ``probe CANDIDATE CHAMPION RESULT.json``.

``load`` loads a release and scores its golden rows. ``probe`` runs the five smoke tests and the five error
scenarios, and measures single-row latency with the champion's rows interleaved, so that both meet
the same machine at the same moments.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gauntlet.adapters.child import rss_mb
from gauntlet.adapters.scorer_lightgbm import LightGBMScorer, golden_difference
from gauntlet.core.digest import sha256_file
from gauntlet.core.errors import GauntletError, IntegrityError
from gauntlet.core.records.model import FeatureKind, Task
from gauntlet.core.release import MANIFEST, MODEL_TEXT, SIDECAR

WARM_UP, TIMED = 200, 2_000
BUDGET_NS = 5 * 10**9
Check = dict[str, Any]
Row = Mapping[str, Any]


class CheckFailed(Exception):
    """A smoke test or error scenario came out otherwise than it must; the message says how."""


# ---- the five smoke tests --------------------------------------------------------------------------


def check_infer(scorer: LightGBMScorer) -> str:
    """Golden rows score as they did in training."""
    if difference := golden_difference(scorer):
        raise CheckFailed(difference)
    return f"{len(scorer.golden.rows)} golden rows score as in training"


def check_output(scorer: LightGBMScorer) -> str:
    """Scores are finite and in the range of the task."""
    import numpy as np

    scores = scorer.score_rows(scorer.golden.rows)
    if not np.isfinite(scores).all():
        raise CheckFailed(f"{int((~np.isfinite(scores)).sum())} of {scores.size} scores are NaN or infinite")
    low, high = float(scores.min()), float(scores.max())
    if scorer.sidecar.task is not Task.REGRESSION and not (low >= 0 and high <= 1):
        raise CheckFailed(f"scores go from {low:g} to {high:g}, outside [0, 1]")
    if scorer.sidecar.task is Task.MULTICLASS and not np.allclose(scores.sum(axis=1), 1, atol=1e-6):
        raise CheckFailed("class scores do not sum to 1")
    if low == high:
        raise CheckFailed(f"every score is {low:g}: the output is constant")
    return f"{scores.size} scores, finite, from {low:.6g} to {high:.6g}"


def check_batch(scorer: LightGBMScorer) -> str:
    """A row alone scores as the same row in a batch."""
    import numpy as np

    alone = scorer.score_rows(scorer.golden.rows)
    together = scorer.score_table(as_table(scorer))
    if not np.array_equal(alone, together):
        worst = float(np.abs(alone - together).max())
        raise CheckFailed(f"rows alone differ from the same rows in a batch by up to {worst:g}")
    return f"{len(alone)} rows alone and in a batch are bit-identical"


def as_table(scorer: LightGBMScorer) -> Any:
    """The golden rows as an Arrow table."""
    import pyarrow as pa

    types = {FeatureKind.NUMERIC: pa.float64(), FeatureKind.BOOLEAN: pa.bool_(), FeatureKind.CATEGORICAL: pa.string()}
    schema = pa.schema([(feature.name, types[feature.kind]) for feature in scorer.sidecar.features])
    return pa.Table.from_pylist([dict(row) for row in scorer.golden.rows], schema=schema)


# ---- the five error scenarios ----------------------------------------------------------------------


def refuses_missing_file(folder: Path) -> str:
    """A release without its model file is refused."""
    return _expect_refusal(folder, lambda copy: (copy / MODEL_TEXT).unlink())


def refuses_wrong_names(folder: Path) -> str:
    """A release whose sidecar names other features than the trees is refused, even with matching digests."""
    return _expect_refusal(folder, _rename_feature)


def _rename_feature(copy: Path) -> None:
    sidecar = json.loads((copy / SIDECAR).read_bytes())
    sidecar["features"][0]["name"] += "_renamed"
    (copy / SIDECAR).write_text(json.dumps(sidecar))
    manifest = json.loads((copy / MANIFEST).read_bytes())
    manifest["files"][SIDECAR] = sha256_file(copy / SIDECAR)
    (copy / MANIFEST).write_text(json.dumps(manifest))


def _expect_refusal(folder: Path, damage: Callable[[Path], None]) -> str:
    with TemporaryDirectory(prefix="gauntlet-damaged-") as work:
        copy = Path(work) / "release"
        shutil.copytree(folder, copy)
        damage(copy)
        try:
            LightGBMScorer(copy).load(sacrifice=False)
        except IntegrityError as error:
            return f"refused: {str(error).replace(str(copy), folder.name)}"
    raise CheckFailed("it was loaded")


def refuses_missing_features(scorer: LightGBMScorer) -> str:
    """A row that lacks a feature is refused, and the feature named."""
    name = scorer.sidecar.features[0].name
    row = {key: value for key, value in scorer.golden.rows[0].items() if key != name}
    try:
        scorer.score_rows([row])
    except GauntletError as error:
        if name in str(error):
            return f"refused: {error}"
        raise CheckFailed(f"refused without naming {name!r}: {error}") from None
    raise CheckFailed(f"a row without {name!r} was scored")


def scores_nan_inputs(scorer: LightGBMScorer) -> str:
    """A row of nothing but missing values scores, finitely, and alike whether written NaN or null."""
    import numpy as np

    nulls = dict.fromkeys((feature.name for feature in scorer.sidecar.features), None)
    nans = dict.fromkeys(nulls, float("nan"))
    scores = scorer.score_rows([nulls, nans])
    if not np.isfinite(scores).all() or not np.array_equal(scores[0], scores[1]):
        raise CheckFailed(f"all null scores {scores[0]}, all NaN {scores[1]}")
    return f"a row of missing values scores {scores[0]}, as null and as NaN"


def refuses_before_load(folder: Path) -> str:
    """Scoring before loading is an error."""
    try:
        LightGBMScorer(folder).score_rows([{}])
    except GauntletError as error:
        return f"refused: {str(error).replace(str(folder), folder.name)}"
    raise CheckFailed("it was scored")


# ---- latency ---------------------------------------------------------------------------------------


def time_rows(scorers: Sequence[LightGBMScorer]) -> list[list[int]]:
    """Nanoseconds per single row of each model, one row of each in turn."""
    rows = [list(scorer.golden.rows) for scorer in scorers]
    times: list[list[int]] = [[] for _ in scorers]
    deadline = time.perf_counter_ns() + BUDGET_NS
    for turn in range(WARM_UP + TIMED):
        for which, scorer in enumerate(scorers):
            row = [rows[which][turn % len(rows[which])]]
            before = time.perf_counter_ns()
            scorer.score_rows(row)
            after = time.perf_counter_ns()
            if turn >= WARM_UP:
                times[which].append(after - before)
        if after > deadline:
            break
    return times


def latency(times: Sequence[int]) -> dict[str, float] | None:
    """Percentiles in microseconds; ``None`` without a measurement."""
    ordered = sorted(times)
    if not ordered:
        return None

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1_000

    return {"n": len(ordered), "p50_us": at(0.5), "p95_us": at(0.95), "p99_us": at(0.99), "max_us": ordered[-1] / 1_000}


# ---- the whole -------------------------------------------------------------------------------------


def attempt(name: str, check: Callable[[], str]) -> Check:
    """One check's result; anything it raises is a failure with its words."""
    try:
        return {"name": name, "passed": True, "detail": check()}
    except Exception as error:
        return {"name": name, "passed": False, "detail": f"{type(error).__name__}: {error}"}


def probe(candidate: Path, champion: Path | None) -> dict[str, Any]:
    """All checks and measurements as JSON values."""
    found: dict[str, Any] = {"candidate_latency": None, "champion_latency": None, "load_seconds": None, "rss_mb": None}
    scorer = LightGBMScorer(candidate)
    before, held = time.perf_counter(), own_rss_mb()
    checks = [attempt("load", lambda: f"loaded {scorer.load(sacrifice=False).sidecar.version_id}")]
    if checks[0]["passed"]:
        found["load_seconds"] = time.perf_counter() - before
        found["rss_mb"] = max(own_rss_mb() - held, 0.0)
        smoke = {"infer": check_infer, "output_valid": check_output, "batch": check_batch}
        checks += [attempt(name, lambda check=check: check(scorer)) for name, check in smoke.items()]  # type: ignore[misc]
        checks.append(attempt("latency", lambda: _measure_latency(found, scorer, champion)))
    else:
        checks += [_not_reached(name) for name in ("infer", "output_valid", "batch", "latency")]
    found["checks"] = [*checks, *_error_scenarios(candidate, scorer, loaded=checks[0]["passed"])]
    return found


def _not_reached(name: str) -> Check:
    return {"name": name, "passed": False, "detail": "not reached: the model did not load"}


def _error_scenarios(folder: Path, scorer: LightGBMScorer, *, loaded: bool) -> list[Check]:
    def needs_model(name: str, check: Callable[[LightGBMScorer], str]) -> Check:
        return attempt(name, lambda: check(scorer)) if loaded else _not_reached(name)

    return [
        attempt("missing_model_file", lambda: refuses_missing_file(folder)),
        attempt("wrong_feature_names", lambda: refuses_wrong_names(folder)),
        needs_model("missing_features", refuses_missing_features),
        needs_model("nan_inputs", scores_nan_inputs),
        attempt("predict_before_load", lambda: refuses_before_load(folder)),
    ]


def _measure_latency(found: dict[str, Any], scorer: LightGBMScorer, champion: Path | None) -> str:
    scorers = [scorer]
    if champion is not None:
        scorers.append(LightGBMScorer(champion).load(sacrifice=False))
    times = time_rows(scorers)
    found["candidate_latency"] = latency(times[0])
    found["champion_latency"] = latency(times[1]) if champion is not None else None
    for other in scorers[1:]:
        other.close()
    return (
        f"p50 {found['candidate_latency']['p50_us']:.1f} µs, p99 {found['candidate_latency']['p99_us']:.1f} µs per row"
    )


def own_rss_mb() -> float:
    """Memory this process holds now."""
    import os

    return rss_mb(os.getpid())


def main(arguments: Sequence[str]) -> int:
    """Run one command; 0 when it could be done."""
    if arguments[0] == "load":
        try:
            difference = golden_difference(LightGBMScorer(Path(arguments[1])).load(sacrifice=False))
        except GauntletError as error:
            difference = str(error)
        sys.stderr.write(f"{difference}\n" if difference else "")
        return 1 if difference else 0
    candidate, champion, result = arguments[1:4]
    Path(result).write_text(json.dumps(probe(Path(candidate), Path(champion) if champion else None)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
