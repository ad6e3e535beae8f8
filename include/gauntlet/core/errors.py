"""Errors a user can act on: each message names the file, key, column or row and what to do.

The split that orchestration relies on: a :class:`Rejection` is a verdict about data or a model and
is final at the first try; an :class:`InfrastructureError` may pass when it is tried again.
"""

from __future__ import annotations


class GauntletError(Exception):
    """Base of every error raised on purpose."""


class Rejection(GauntletError):
    """A verdict against data, a model or a rollout. Final: trying again gives the same answer."""


class SpecError(Rejection):
    """A model spec that cannot be used: unreadable, unknown key, contradiction."""


class DataRejected(Rejection):
    """Data that cannot be used: empty, missing column, clock before the first row."""


class ContractFailed(DataRejected):
    """The data contract does not hold on the snapshot."""


class LeakageFound(DataRejected):
    """The label, the future or the holdout leaks into training."""


class TrainingFailed(Rejection):
    """Training refused its input, or its process died on it."""


class GateFailed(Rejection):
    """A gate's verdict is not ``passed`` and not waived."""


class PromotionRefused(Rejection):
    """Receipts are missing, stale or unsatisfied, or the champion has changed meanwhile."""


class RollbackRefused(Rejection):
    """There is nothing to roll back, or no recorded earlier champion that may and can be served."""


class DrillFailed(Rejection):
    """A rehearsed rollback would not have gone as it must."""


class RolloutAborted(Rejection):
    """The canary was taken out of traffic."""


class LayerUnhealthy(Rejection):
    """A layer of a model in production is not as it should be, or could not be looked at."""


class NotPermitted(Rejection):
    """Somebody asked for what their roles do not let them do; the attempt is in the audit log."""


class DeploymentHeld(GauntletError):
    """Nothing may be deployed now: a freeze, a stopped line, an approval to come. It passes; wait and try again."""


class IntegrityError(Rejection):
    """Bytes are not the bytes that were recorded: a digest or a checksum differs."""


class MissingRecord(GauntletError):
    """An earlier task's record is not in the store; that task has not run for this run."""


class Conflict(GauntletError):
    """A compare-and-swap lost: somebody else changed the state first."""


class InfrastructureError(GauntletError):
    """A service, disk or network did not answer as it should. Worth another try."""


class PartlyTold(InfrastructureError):
    """Some addresses took a message and others did not: it is not sent again, but the others want mending."""


REJECTIONS: tuple[str, ...] = tuple(
    f"{error.__module__}.{error.__qualname__}"
    for error in (
        Rejection,
        SpecError,
        DataRejected,
        ContractFailed,
        LeakageFound,
        TrainingFailed,
        GateFailed,
        PromotionRefused,
        RollbackRefused,
        DrillFailed,
        RolloutAborted,
        LayerUnhealthy,
        NotPermitted,
        IntegrityError,
    )
)
"""Dotted names of all final errors, for retry policies that match by name."""
