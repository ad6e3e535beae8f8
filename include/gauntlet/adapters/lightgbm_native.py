"""LightGBM's C interface for scoring, without importing the Python package.

The package costs 1.5 s and 100 MB to import (pandas, SciPy, scikit-learn); its shared library costs
milliseconds, which is what a task that only scores should pay. Results are bit-identical to
``Booster.predict``. Signatures: ``include/LightGBM/c_api.h`` of LightGBM 4.7.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import InfrastructureError, IntegrityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FLOAT64 = 1
_NORMAL = 0
_ROW_MAJOR = 1
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


_silent = _LOG(lambda _: None)
"""LightGBM writes to standard output; errors come back as return codes."""


@cache
def _library() -> ctypes.CDLL:
    package = find_spec("lightgbm")
    folders = [Path(place) for place in (package.submodule_search_locations or ())] if package else []
    found = [path for folder in folders for path in (folder / "lib" / "lib_lightgbm.so", folder / "lib_lightgbm.so")]
    present = [path for path in found if path.is_file()]
    if not present:
        raise InfrastructureError(f"no lib_lightgbm.so in {folders or 'any lightgbm package'}: install the lock file")
    library = ctypes.CDLL(str(present[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    library.LGBM_RegisterLogCallback(_silent)
    return library


def _check(code: int) -> None:
    if code:
        raise IntegrityError(f"LightGBM: {_library().LGBM_GetLastError().decode(errors='replace')}")


class NativeBooster:
    """A model in LightGBM's memory. Validate its text before: LightGBM may abort on a damaged one."""

    def __init__(self, text: bytes) -> None:
        """Parse a model in native text form; :class:`IntegrityError` when LightGBM refuses it."""
        self._handle, iterations = ctypes.c_void_p(), ctypes.c_int()
        load = _library().LGBM_BoosterLoadModelFromString
        _check(load(ctypes.c_char_p(text), ctypes.byref(iterations), ctypes.byref(self._handle)))
        self.iterations = iterations.value
        self.features = self._integer("LGBM_BoosterGetNumFeature")
        self.classes = self._integer("LGBM_BoosterGetNumClasses")

    def _integer(self, function: str) -> int:
        value = ctypes.c_int()
        _check(getattr(_library(), function)(self._handle, ctypes.byref(value)))
        return value.value

    def predict(self, matrix: NDArray[np.float64], threads: int = 0) -> NDArray[np.float64]:
        """Raw scores of a C-ordered float64 matrix (rows, features): (rows,), or (rows, classes) for several."""
        import numpy as np

        if matrix.dtype != np.float64 or not matrix.flags.c_contiguous or matrix.shape[1] != self.features:
            raise ValueError(f"expected C-ordered float64 (rows, {self.features}), got {matrix.dtype} {matrix.shape}")
        scores = np.empty((len(matrix), self.classes))
        if len(matrix):
            written = ctypes.c_int64()
            _check(
                _library().LGBM_BoosterPredictForMat(
                    self._handle,
                    ctypes.c_void_p(matrix.ctypes.data),
                    ctypes.c_int(_FLOAT64),
                    ctypes.c_int32(len(matrix)),
                    ctypes.c_int32(self.features),
                    ctypes.c_int(_ROW_MAJOR),
                    ctypes.c_int(_NORMAL),
                    ctypes.c_int(0),
                    ctypes.c_int(-1),
                    ctypes.c_char_p(f"num_threads={threads}".encode() if threads else b""),
                    ctypes.byref(written),
                    ctypes.c_void_p(scores.ctypes.data),
                )
            )
        return scores if self.classes > 1 else scores[:, 0]

    def row_scorer(self) -> RowScorer:
        """A prepared scorer of single rows, for one thread."""
        return RowScorer(self)

    def close(self) -> None:
        """Free the model; its row scorers must be closed before."""
        if self._handle:
            _library().LGBM_BoosterFree(self._handle)
            self._handle = ctypes.c_void_p()


class RowScorer:
    """Scores one row at a time with a prepared configuration. Never shared between threads.

    Shared configurations gave random outputs (LightGBM issue 3675).
    """

    def __init__(self, booster: NativeBooster) -> None:
        self._config = ctypes.c_void_p()
        _check(
            _library().LGBM_BoosterPredictForMatSingleRowFastInit(
                booster._handle,
                ctypes.c_int(_NORMAL),
                ctypes.c_int(0),
                ctypes.c_int(-1),
                ctypes.c_int(_FLOAT64),
                ctypes.c_int32(booster.features),
                ctypes.c_char_p(b"num_threads=1"),
                ctypes.byref(self._config),
            )
        )
        self._row = (ctypes.c_double * booster.features)()
        self._scores = (ctypes.c_double * booster.classes)()
        self._written = ctypes.c_int64()
        self._score: Callable[..., int] = _library().LGBM_BoosterPredictForMatSingleRowFast
        self._arguments: tuple[Any, ...] = (self._config, self._row, ctypes.byref(self._written), self._scores)

    def score(self, row: Sequence[float]) -> tuple[float, ...]:
        """Raw scores of one encoded row, one per class; NaN is missing."""
        self._row[:] = list[Any](row)
        _check(self._score(*self._arguments))
        return tuple(self._scores)

    def close(self) -> None:
        """Free the configuration."""
        if self._config:
            _library().LGBM_FastConfigFree(self._config)
            self._config = ctypes.c_void_p()
