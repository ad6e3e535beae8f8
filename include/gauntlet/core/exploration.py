"""The exploration reserve: a small share of decisions that ignores the model, and is known to.

A model whose decisions decide which outcomes become known (who is refused a loan never repays one) is trained and
judged on what it let through. A share of decisions drawn without it leaves labels on the other side too. Each is
journaled with its *propensity*, the probability with which this decision is given to this row, so that what another
policy would have earned can be estimated without bias by weighting with its inverse (Horvitz and Thompson, JASA 47
(1952); Bottou et al., "Counterfactual reasoning and learning systems", JMLR 14 (2013)).

The score stays the model's. Who is drawn is a pure function of seed and entity, and no function of the canary's split.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from gauntlet.core.records.rollout import PPM
from gauntlet.core.specs.serving import ExplorationSection

BITS = 32
_PERSON = b"exploration"
"""Keeps these draws apart from the canary's buckets, even under the same key."""
_FIXED = {"negative": 0, "positive": 1}


class Draw(NamedTuple):
    """A decision as it is given. ``explored``: it was drawn without the model, though it may agree with it."""

    explored: bool
    decision: int
    propensity: float


class Explorer:
    """Draws for one model.

    >>> explorer = Explorer(ExplorationSection(share=0.05, decide="positive"), "loans", 2)
    >>> draws = [explorer.draw(f"customer-{number}", 0) for number in range(10_000)]
    >>> sum(draw.explored for draw in draws), {draw[1:] for draw in draws}
    (473, {(1, 0.05), (0, 0.95)})
    """

    __slots__ = ("_base", "_decisions", "_fixed", "_share", "_share_ppm")

    def __init__(self, section: ExplorationSection, model: str, decisions: int) -> None:
        """``decisions``: how many different ones there are, coded from 0."""
        key = blake2b(f"{model}\0{section.seed}".encode(), digest_size=blake2b.MAX_KEY_SIZE).digest()
        self._base = blake2b(digest_size=2 * BITS // 8, key=key, person=_PERSON)
        self._share_ppm = round(section.share * PPM)
        self._share = self._share_ppm / PPM
        self._decisions, self._fixed = decisions, _FIXED.get(section.decide)

    def draw(self, unit: str, own: int) -> Draw:
        """What is given to an entity, or to a request without one, for which the model decides ``own``."""
        keyed = self._base.copy()
        keyed.update(unit.encode("utf-8", "surrogatepass"))
        drawn = int.from_bytes(keyed.digest(), "big")
        # The upper half says whether, the lower half what: more draws with a larger share, and none changed.
        if (drawn >> BITS) * PPM >> BITS >= self._share_ppm:
            return Draw(False, own, self.propensity(own, own))
        given = (drawn & (1 << BITS) - 1) * self._decisions >> BITS if self._fixed is None else self._fixed
        return Draw(True, given, self.propensity(given, own))

    def propensity(self, given: int, own: int) -> float:
        """The probability that a row for which the model decides ``own`` is given this decision."""
        kept = 1 - self._share if given == own else 0.0
        drawn = 1 / self._decisions if self._fixed is None else float(given == self._fixed)
        return kept + self._share * drawn
