"""Which arm a request goes to: a pure function of the entity, the rollout's salt and the weight.

An entity has one *bucket* per rollout, an integer in [0, 1 000 000) drawn from a keyed 64-bit BLAKE2b
hash. The canary takes the buckets below its weight, so raising the weight only ever moves entities
from stable to canary, and lowering it only back (Kohavi et al., *Trustworthy Online Controlled
Experiments*, 2020, ch. 3: persistent assignment). A new rollout has a new salt, so that it is not
always the same users who meet a new version first. The *control slice*, as large as the canary's,
lies at the upper end of the buckets: contemporaneous, equally sized, and never touched by the ramp
up to 50 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from gauntlet.core.records.rollout import PPM, Arm, Routing

HASH_BITS = 64
HASH_BYTES = HASH_BITS // 8
KEY_BYTES = 64


class Basis:
    """Why a request went to its arm."""

    HASH = "hash"
    """By its entity's bucket: sticky."""
    REQUEST = "request"
    """No entity key: drawn for this request only, not sticky."""
    LISTED = "listed"
    """On the allow or deny list: not a random draw, so no evidence for a comparison of arms."""


class Assignment(NamedTuple):
    """Where one request goes. ``bucket`` is in [0, PPM)."""

    canary: bool
    bucket: int
    sticky: bool
    basis: str

    @property
    def arm(self) -> Arm:
        """The arm's name."""
        return Arm.CANARY if self.canary else Arm.STABLE


@dataclass(frozen=True)
class Weight:
    """The weight in force, and why it is 0 when the routing row says otherwise."""

    ppm: int
    reason: str


class Splitter:
    """Assigns entities for one salt.

    >>> split = Splitter("rollout-7")
    >>> split.assign("customer-1", 0).arm, split.assign("customer-1", PPM).arm
    (<Arm.STABLE: 'stable'>, <Arm.CANARY: 'canary'>)
    """

    __slots__ = ("_allow", "_deny", "_keyed")

    def __init__(self, salt: str, allow: frozenset[str] = frozenset(), deny: frozenset[str] = frozenset()) -> None:
        """Entities in ``allow`` always meet the canary while it has weight, those in ``deny`` never do."""
        key = salt.encode()
        if len(key) > KEY_BYTES:
            key = blake2b(key, digest_size=KEY_BYTES).digest()
        self._keyed = blake2b(digest_size=HASH_BYTES, key=key)
        self._allow = allow - deny
        self._deny = deny

    def bucket(self, entity: str) -> int:
        """The entity's bucket, in [0, PPM)."""
        keyed = self._keyed.copy()
        keyed.update(entity.encode("utf-8", "surrogatepass"))
        return int.from_bytes(keyed.digest(), "big") * PPM >> HASH_BITS

    def assign(self, entity: str, weight_ppm: int) -> Assignment:
        """The arm of an entity at a weight."""
        bucket = self.bucket(entity)
        if entity in self._deny:
            return Assignment(canary=False, bucket=bucket, sticky=True, basis=Basis.LISTED)
        if entity in self._allow:
            return Assignment(canary=weight_ppm > 0, bucket=bucket, sticky=True, basis=Basis.LISTED)
        return Assignment(canary=bucket < weight_ppm, bucket=bucket, sticky=True, basis=Basis.HASH)

    def assign_request(self, request_id: str, weight_ppm: int) -> Assignment:
        """The arm of a request that names no entity: drawn from the request id, not sticky."""
        bucket = self.bucket(request_id)
        return Assignment(canary=bucket < weight_ppm, bucket=bucket, sticky=False, basis=Basis.REQUEST)


def control_slice(weight_ppm: int) -> tuple[int, int]:
    """Buckets [from, to) of the control slice: as many as the canary's, or all that are left above 50 %.

    >>> control_slice(10_000), control_slice(800_000)
    ((990000, 1000000), (800000, 1000000))
    """
    return max(PPM - weight_ppm, weight_ppm), PPM


def in_control(bucket: int, weight_ppm: int) -> bool:
    """Whether a bucket lies in the control slice at this weight."""
    return bucket >= control_slice(weight_ppm)[0]


def weight_in_force(routing: Routing, now: datetime, *, loaded: bool = True, tripped: bool = False) -> Weight:
    """The canary's weight now: 0 without canary, lease or loaded version, or after its breaker has tripped."""
    if routing.canary is None:
        return Weight(0, "no canary")
    if not loaded:
        return Weight(0, "canary is not loaded")
    if tripped:
        return Weight(0, "breaker tripped")
    if routing.lease_until is None:
        return Weight(0, "canary without lease")
    if routing.lease_until <= now:
        return Weight(0, "lease expired")
    return Weight(routing.weight_ppm, "")
