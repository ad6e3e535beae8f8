"""``gauntlet golive``: eight phases from what is actually configured, run and signed, to a model that may serve.

Nothing here is ticked by hand but what no machine can see; that is signed by a person, with a date after which it
no longer counts. What cannot be looked at is missing.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from gauntlet.bootstrap import services
from gauntlet.core.duration import words as in_words
from gauntlet.core.errors import GauntletError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.ledger import DrillReport, ReconcileReport
from gauntlet.core.records.monitoring import Layer, LayerReport
from gauntlet.core.records.signoff import Topic
from gauntlet.core.roles import person, signed
from gauntlet.core.runbook import KINDS, heading
from gauntlet.core.spec import ModelSpec
from gauntlet.settings import Settings, settings
from gauntlet.stages.sign_off import words

Answer = tuple[bool, str]
EXAMPLE = ("example.com", "example.org")
LOOK_AGE = timedelta(hours=3)
DRILL_AGE = timedelta(days=14)
BACKUP_AGE = timedelta(days=2)
WORD_AGE = timedelta(days=180)
"""How long what people said counts: two releases a year at least are looked at with fresh eyes."""
SIGNATURES = 2
PROBE_S = 3.0


class Check(Record):
    """One line of the checklist. ``remedy``: what to do when it is missing."""

    phase: str
    check: str
    outcome: Outcome
    sentence: str
    remedy: str


@dataclass(frozen=True)
class _Item:
    check: str
    look: Callable[[], Answer]
    remedy: str


@dataclass(frozen=True)
class Ground:
    """What the checks stand on."""

    running: Services
    current: Settings
    spec: ModelSpec


def checklist(model: str) -> tuple[Check, ...]:
    """Every line, phase by phase."""
    running = services()
    ground = Ground(running, settings(), running.specs.get(model))
    return tuple(_checked(phase, item) for phase, items in PHASES.items() for item in items(ground))


def ready(checks: tuple[Check, ...]) -> bool:
    """Whether nothing is missing."""
    return bool(checks) and all(check.outcome.satisfied for check in checks)


def _checked(phase: str, item: _Item) -> Check:
    try:
        good, sentence = item.look()
    except (GauntletError, OSError) as error:
        good, sentence = False, f"could not be looked at: {error}"
    outcome = Outcome.PASSED if good else Outcome.FAILED
    return Check(phase=phase, check=item.check, outcome=outcome, sentence=sentence, remedy=item.remedy)


# ---- the phases ------------------------------------------------------------------------------------


def _ownership(ground: Ground) -> Iterator[_Item]:
    owner = ground.spec.owner

    def somebody() -> Answer:
        return not owner.email.endswith(EXAMPLE), f"{owner.team}, {owner.email}"

    def runbook() -> Answer:
        where = owner.runbook
        if where.startswith(("http://", "https://")):
            return True, where
        file = _root() / where
        if not file.is_file():
            return False, f"{where} is not there"
        lines = set(file.read_text(encoding="utf-8").splitlines())
        missing = [kind for kind in KINDS if f"## {heading(kind)}" not in lines]
        return (
            not missing,
            f"{where} has no section for {', '.join(missing)}"
            if missing
            else f"{where}, with a section for every kind of alert",
        )

    yield _Item("owner", somebody, "owner: a team and an address that people read")
    yield _Item("runbook", runbook, "owner.runbook: a file with a section for every kind of alert, or an address")
    yield _signed(ground, Topic.RUNBOOK, WORD_AGE)


def _data(ground: Ground) -> Iterator[_Item]:
    spec = ground.spec

    def contract() -> Answer:
        found = ground.running.records.newest(spec.model, ContractReport)
        if not found:
            return False, "the contract was never evaluated"
        return found[0].outcome.satisfied, found[0].reason

    def known_at() -> Answer:
        column = spec.source.columns.known_at
        return column is not None, f"rows are read as known at a time, by {column}" if column else "no known_at column"

    def fresh() -> Answer:
        limit = spec.monitoring.data.freshness or spec.contract.freshness
        return limit is not None, f"rows may be {in_words(limit.total_seconds())} old" if limit else "no limit"

    def reads() -> Answer:
        if spec.source.kind != "sql":
            return True, "files: no database is asked"
        from gauntlet.adapters.environment import expand
        from gauntlet.adapters.read_only import role_can_write

        try:
            writes, told = role_can_write(expand(spec.model, spec.source.uri))
        except Exception as error:  # Drivers raise what they like; their words may hold the address.
            return False, f"could not be asked: {type(error).__name__}"
        return not writes, told

    yield _Item("source is only read", reads, "a role that may only read: deploy/postgres/reader.sh")
    yield _Item("data contract", contract, "run the nightly: gauntlet run <model>")
    yield _Item("point in time", known_at, "source.columns.known_at")
    yield _Item("freshness", fresh, "contract.freshness")


def _model(ground: Ground) -> Iterator[_Item]:
    running, spec = ground.running, ground.spec

    def champion() -> Answer:
        version = running.ledger.champion(spec.model).version
        return version is not None, version.version_id if version else "there is none"

    def receipts() -> Answer:
        version = running.ledger.champion(spec.model).version
        for decision in running.records.newest(spec.model, PromotionDecision, limit=200):
            if version is not None and decision.candidate == version.release_digest:
                found = running.records.named(f"{spec.model}/{decision.run}", GateReceipt)
                open_ones = [gate for gate, receipt in found.items() if not receipt.satisfied]
                return not open_ones and decision.outcome.satisfied, decision.reason
        return False, "no promotion decision about the champion is recorded"

    def off() -> Answer:
        gates = spec.gates.off
        return True, "; ".join(f"{gate}: {why}" for gate, why in gates.items()) or "every gate is on"

    yield _Item("champion", champion, "let a first model through its gates")
    yield _Item("gates", receipts, "gauntlet explain champion")
    yield _Item("gates that are off", off, "")


def _serving(ground: Ground) -> Iterator[_Item]:
    running, current, model = ground.running, ground.current, ground.spec.model

    def answers() -> Answer:
        reports = running.server.reports(model)
        epoch = running.routing.read(model).epoch
        agree = bool(reports) and all(report.epoch == epoch for report in reports)
        return agree, f"{len(reports)} processes at routing epoch {epoch}" if agree else "not all processes agree"

    def healthy() -> Answer:
        asked = [f"{current.server_url}{path}" for path in ("/livez", "/readyz", f"/v1/models/{model}/ready")]
        for url in asked:
            # A refusal is an OSError too: HTTPError.
            urllib.request.urlopen(url, timeout=PROBE_S).close()  # noqa: S310 - the installation's own address
        return True, ", ".join(asked)

    def spare() -> Answer:
        return current.server_workers >= 2, f"{current.server_workers} processes"

    def token() -> Answer:
        from gauntlet.bootstrap import token_file

        if current.server_token is not None:
            return True, "set; it is another only after a restart"
        file = token_file(current)
        if not file.is_file():
            return False, f"{file} is not there: has the server been started?"
        private = not file.stat().st_mode & 0o007
        return private, f"{file}, replaced there it is another at once" if private else f"anybody may read {file}"

    yield _Item("the server answers", answers, "gauntlet doctor")
    yield _Item("health checks", healthy, f"curl -fsS {current.server_url}/readyz says what is missing")
    yield _Item("a process to spare", spare, "GAUNTLET_SERVER_WORKERS=2")
    yield _Item("admin token", token, "start the server; chmod 600 the file")


def _monitoring(ground: Ground) -> Iterator[_Item]:
    running, current, spec = ground.running, ground.current, ground.spec

    def looked() -> Answer:
        now = running.clock.now()
        old = [
            layer.value
            for layer in Layer
            if not (found := running.records.newest(spec.model, LayerReport, name=layer.value))
            or now - found[0].at > LOOK_AGE
        ]
        return not old, f"not looked at lately: {', '.join(old)}" if old else "every layer was looked at"

    def told() -> Answer:
        return current.notify is not None, "set" if current.notify else "nobody is told"

    def switch() -> Answer:
        return current.heartbeat_url is not None, "set" if current.heartbeat_url else "nobody notices silence"

    def outcomes() -> Answer:
        named = [*spec.monitoring.product, *spec.monitoring.business]
        return bool(named), ", ".join(named) or "nothing says what the model is for"

    yield _Item("layers", looked, "unpause the DAG <model>__monitor")
    yield _Item("somebody is told", told, "GAUNTLET_NOTIFY")
    yield _Item("dead man's switch", switch, "GAUNTLET_HEARTBEAT_URL")
    yield _Item("product and business", outcomes, "monitoring.product or monitoring.business")
    yield _signed(ground, Topic.ALERTS, WORD_AGE)


def _rollback(ground: Ground) -> Iterator[_Item]:
    running, model = ground.running, ground.spec.model

    def target() -> Answer:
        previous = running.routing.read(model).previous
        if previous is None:
            return False, "there is no earlier champion to return to"
        running.blobs.fetch_folder(previous.release_uri, previous.release_digest)
        return True, f"{previous.version_id} is complete and verified"

    def drill() -> Answer:
        found = running.records.newest(model, DrillReport)
        if not found:
            return False, "never drilled"
        age = running.clock.now() - found[0].at
        took = "" if found[0].seconds is None else f", {found[0].seconds:.2f} s to the last server"
        told = f"{found[0].reason} ({in_words(age.total_seconds())} ago{took})"
        return found[0].outcome.satisfied and age <= DRILL_AGE, told

    yield _Item("somewhere to return to", target, "a second version has to pass the gates")
    yield _Item("drilled", drill, f"gauntlet drill {model}")


def _operations(ground: Ground) -> Iterator[_Item]:
    running, current, model = ground.running, ground.current, ground.spec.model

    def place() -> Answer:
        return current.environment == "production", current.environment

    def database() -> Answer:
        kind = current.database.split(":", 1)[0]
        return not kind.startswith("sqlite"), kind

    def chain() -> Answer:
        from gauntlet.stages.verify_audit import verify_audit

        findings = verify_audit(running)
        return not findings, str(findings[0]) if findings else "unbroken"

    def agree() -> Answer:
        found = running.records.newest(model, ReconcileReport)
        return bool(found) and found[0].agreed, found[0].reason if found else "never compared"

    yield _Item("environment", place, "GAUNTLET_ENVIRONMENT=production")
    yield _Item("database", database, "GAUNTLET_DATABASE_URL: PostgreSQL")
    yield _Item("audit log", chain, "gauntlet audit verify")
    yield _Item("registry and servers agree", agree, f"gauntlet reconcile {model}")
    yield _signed(ground, Topic.BACKUP, BACKUP_AGE)
    yield _signed(ground, Topic.RESTORE, WORD_AGE)


def _sign_off(ground: Ground) -> Iterator[_Item]:
    model = ground.spec.model

    def enough() -> Answer:
        now = ground.running.clock.now()
        found = [
            word
            for word in words(ground.running, model, Topic.GO_LIVE)
            if word.spec_digest == ground.spec.digest and now - word.at <= WORD_AGE
        ]
        # One account of the operating system is one person, whatever names were typed there.
        people = {person(word.by, word.account).strip().casefold() for word in found}
        names = ", ".join(f"{signed(word.by, word.account)} ({word.at:%Y-%m-%d})" for word in found)
        return len(people) >= SIGNATURES, f"{len(people)} of {SIGNATURES} people, for this spec: {names or 'nobody'}"

    yield _Item(
        "go", enough, f'gauntlet sign-off {model} {Topic.GO_LIVE} --by NAME --reason "…", by {SIGNATURES} people'
    )


def _signed(ground: Ground, topic: Topic, age: timedelta) -> _Item:
    model = ground.spec.model

    def said() -> Answer:
        found = words(ground.running, model, topic)
        if not found:
            return False, "nobody has said so"
        old = ground.running.clock.now() - found[0].at
        told = f"{found[0].by}, {in_words(old.total_seconds())} ago: {found[0].reason}"
        return old <= age, told if old <= age else f"too long ago: {told}"

    return _Item(f"signed: {topic}", said, f'gauntlet sign-off {model} {topic} --by NAME --reason "…"')


def _root() -> Path:
    return Path(__file__).parents[2]


PHASES: dict[str, Callable[[Ground], Iterator[_Item]]] = {
    "1 ownership": _ownership,
    "2 data": _data,
    "3 model": _model,
    "4 serving": _serving,
    "5 monitoring": _monitoring,
    "6 rollback": _rollback,
    "7 operations": _operations,
    "8 sign-off": _sign_off,
}
