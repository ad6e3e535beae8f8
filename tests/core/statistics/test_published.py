"""Values that others have published, with where."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats

from gauntlet.core.drift import adjusted
from gauntlet.core.statistics.chi_squared import chi_squared
from gauntlet.core.statistics.cramers_v import balanced_v, cramers_v
from gauntlet.core.statistics.hellinger import hellinger
from gauntlet.core.statistics.jensen_shannon import jensen_shannon
from gauntlet.core.statistics.psi import psi


def test_benjamini_hochberg_of_the_paper() -> None:
    """Benjamini and Hochberg (1995), section 3.2: of these 15 p-values four are rejected at q = 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000]
    ours = adjusted(p)
    assert (ours <= 0.05).sum() == 4
    assert ours[:4] == pytest.approx([0.0015, 0.0030, 0.0095, 0.035625])
    np.testing.assert_allclose(ours, scipy.stats.false_discovery_control(p))


def test_fishers_tea_like_table_has_the_known_phi() -> None:
    """Agresti, Categorical Data Analysis, physicians' health study: 189 of 11 034 and 104 of 11 037, chi^2 = 25.01."""
    placebo, aspirin = np.array([189, 10_845]), np.array([104, 10_933])
    assert chi_squared(placebo, aspirin) == pytest.approx(25.01, abs=0.005)
    assert cramers_v(placebo, aspirin) == pytest.approx((25.0139 / 22_071) ** 0.5, abs=1e-5)


def test_cramers_v_of_scipys_documentation() -> None:
    """SciPy's documentation of ``association``: a table of four rows and two columns."""
    table = np.array([[100, 150], [203, 322], [420, 700], [320, 210]])
    assert cramers_v(table[:, 0], table[:, 1]) == pytest.approx(0.18617813077483678, rel=1e-12)


def test_psi_is_the_symmetrised_kullback_leibler_divergence() -> None:
    """Kullback and Leibler (1951) J divergence; for N(0,1) against N(d,1) it is d^2."""
    edges = np.linspace(-9, 9, 4001)
    shares = [np.diff(scipy.stats.norm.cdf(edges, loc)) + 1e-300 for loc in (0.0, 0.3)]
    assert psi(*shares) == pytest.approx(0.09, abs=1e-4)
    p, q = np.array([0.36, 0.48, 0.16]), np.array([1 / 3, 1 / 3, 1 / 3])
    divergences = scipy.stats.entropy(p, q) + scipy.stats.entropy(q, p)
    assert psi(p, q) == pytest.approx(divergences)
    assert scipy.stats.entropy(p, q) == pytest.approx(0.0852996, abs=1e-6)


def test_psi_of_kullbacks_example_is_the_sum_of_both_published_divergences() -> None:
    """Kullback, Information Theory and Statistics (1959), table 2.1, example 1.2: 0.0852996 and 0.0974550 nats."""
    p, q = np.array([0.36, 0.48, 0.16]), np.array([1 / 3, 1 / 3, 1 / 3])
    assert psi(p, q) == pytest.approx(0.0852996 + 0.0974550, abs=2e-6)


def test_jensen_shannon_of_scipys_documentation() -> None:
    """SciPy's documentation of ``jensenshannon``, in nats; ours is in bits."""
    nats = 0.46450140402245893
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(nats / np.log(2) ** 0.5)
    assert jensen_shannon(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])) == pytest.approx(1.0)


def test_distances_are_scipys() -> None:
    p, q = np.array([0.36, 0.48, 0.16]), np.array([0.30, 0.50, 0.20])
    assert jensen_shannon(p, q) == pytest.approx(scipy.spatial.distance.jensenshannon(p, q, base=2), rel=1e-12)
    assert hellinger(p, q) == pytest.approx(np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / 2**0.5, rel=1e-12)


def test_balanced_v_is_cramers_v_of_equal_windows_and_does_not_see_their_size() -> None:
    one, other = np.array([30, 50, 20]), np.array([20, 40, 40])
    assert balanced_v(one / 100, other / 100) == pytest.approx(cramers_v(one, other))
    assert cramers_v(one * 1000, other) < 0.05 < balanced_v(one / 100, other / 100)
