"""LightGBM's C interface, as much of it as scoring needs, without importing the Python package.

The package costs seconds and 100 MB to import (pandas, SciPy, scikit-learn); its shared library costs
milliseconds. Scores are bit-identical to ``Booster.predict``, one row or many. Signatures:
``include/LightGBM/c_api.h`` of LightGBM 4.7.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

from gauntlet.core.errors import InfrastructureError, IntegrityError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FLOAT64 = 1
_NORMAL = 0
_ALL_ITERATIONS = -1
_ROW_MAJOR = 1
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


class ScoringError(IntegrityError):
    """A model could not be loaded, or could not score."""


@cache
def library() -> ctypes.CDLL:
    """The shared library of the installed LightGBM."""
    package = find_spec("lightgbm")
    if package is None or not package.submodule_search_locations:
        raise InfrastructureError("LightGBM is not installed: install the lock file's packages")
    folder = Path(package.submodule_search_locations[0])
    found = [path for path in (folder / "lib" / "lib_lightgbm.so", folder / "lib_lightgbm.so") if path.is_file()]
    if not found:
        raise InfrastructureError(f"no lib_lightgbm.so under {folder}: install LightGBM's wheel for this platform")
    lib = ctypes.CDLL(str(found[0]))
    _declare(lib)
    lib.LGBM_RegisterLogCallback(_SILENT)
    return lib


@cache
def _fast_call() -> Any:
    """The single-row call, holding the interpreter lock: it takes microseconds, and giving the lock away costs more."""
    return ctypes.PyDLL(library()._name).LGBM_BoosterPredictForMatSingleRowFast


# LightGBM writes warnings to standard output; errors come back as return codes all the same.
_SILENT = _LOG(lambda _: None)


def _declare(lib: ctypes.CDLL) -> None:
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    lib.LGBM_GetLastError.restype = text
    lib.LGBM_BoosterLoadModelFromString.argtypes = [text, pointer, pointer]
    lib.LGBM_BoosterGetNumFeature.argtypes = [pointer, pointer]
    lib.LGBM_BoosterGetNumClasses.argtypes = [pointer, pointer]
    lib.LGBM_BoosterFree.argtypes = [pointer]
    lib.LGBM_BoosterPredictForMatSingleRowFastInit.argtypes = [
        pointer,
        integer,
        integer,
        integer,
        integer,
        ctypes.c_int32,
        text,
        pointer,
    ]
    lib.LGBM_BoosterPredictForMat.argtypes = [
        pointer,
        pointer,
        integer,
        ctypes.c_int32,
        ctypes.c_int32,
        integer,
        integer,
        integer,
        integer,
        text,
        pointer,
        pointer,
    ]
    lib.LGBM_FastConfigFree.argtypes = [pointer]
    lib.LGBM_RegisterLogCallback.argtypes = [_LOG]


def _check(code: int) -> None:
    if code != 0:
        raise ScoringError(f"LightGBM: {library().LGBM_GetLastError().decode(errors='replace')}")


class Booster:
    """A model in LightGBM's memory. Check its bytes before: LightGBM may abort on a damaged text."""

    def __init__(self, model_text: bytes) -> None:
        """Parse a model in native text form."""
        handle, iterations = ctypes.c_void_p(), ctypes.c_int()
        _check(library().LGBM_BoosterLoadModelFromString(model_text, ctypes.byref(iterations), ctypes.byref(handle)))
        self.handle = handle
        self.iterations = iterations.value
        self.features = self._integer("LGBM_BoosterGetNumFeature")
        self.classes = self._integer("LGBM_BoosterGetNumClasses")

    def _integer(self, function: str) -> int:
        value = ctypes.c_int()
        _check(getattr(library(), function)(self.handle, ctypes.byref(value)))
        return value.value

    def predict(self, matrix: NDArray[np.float64], threads: int = 0) -> NDArray[np.float64]:
        """Raw scores of a C-ordered float64 matrix (rows, features): (rows,), or (rows, classes) for several.

        ``threads``: 0 for as many as OpenMP takes; the scores are the same.
        """
        import numpy as np

        if matrix.dtype != np.float64 or not matrix.flags.c_contiguous or matrix.shape[1] != self.features:
            raise ValueError(f"expected C-ordered float64 (rows, {self.features}), got {matrix.dtype} {matrix.shape}")
        scores = np.empty((len(matrix), self.classes))
        if len(matrix):
            written = ctypes.c_int64()
            _check(
                library().LGBM_BoosterPredictForMat(
                    self.handle,
                    matrix.ctypes.data,
                    _FLOAT64,
                    len(matrix),
                    self.features,
                    _ROW_MAJOR,
                    _NORMAL,
                    0,
                    _ALL_ITERATIONS,
                    f"num_threads={threads}".encode() if threads else b"",
                    ctypes.byref(written),
                    scores.ctypes.data,
                )
            )
        return scores if self.classes > 1 else scores[:, 0]

    def close(self) -> None:
        """Free the model; every :class:`RowScorer` of it must be closed before."""
        if self.handle:
            library().LGBM_BoosterFree(self.handle)
            self.handle = ctypes.c_void_p()


def _closed(*_: Any) -> None:
    raise ScoringError("the version has been unloaded")


class RowScorer:
    """Scores one row at a time with a prepared configuration. Belongs to one thread, never shared.

    Shared configurations gave random outputs (LightGBM issue 3675).
    """

    __slots__ = (
        "_arguments",
        "_buffer",
        "_config",
        "_fast",
        "_length",
        "_out",
        "_pack",
        "classes",
        "features",
        "vector",
    )

    vector: Callable[[], bytes]
    """The bytes of the row scored last: float64 in native order."""

    def __init__(self, booster: Booster) -> None:
        """Prepare scoring of raw float64 rows in the booster's feature order."""
        self.features, self.classes = booster.features, booster.classes
        self._config = ctypes.c_void_p()
        _check(
            library().LGBM_BoosterPredictForMatSingleRowFastInit(
                booster.handle,
                _NORMAL,
                0,
                _ALL_ITERATIONS,
                _FLOAT64,
                booster.features,
                b"num_threads=1",
                ctypes.byref(self._config),
            )
        )
        self._buffer = array("d", bytes(8 * booster.features))
        self.vector = self._buffer.tobytes
        self._pack: Any = Struct(f"{booster.features}d").pack_into
        self._out = array("d", bytes(8 * booster.classes))
        self._length = ctypes.c_int64()
        self._fast: Any = _fast_call()
        self._arguments = (
            self._config,
            ctypes.c_void_p(self._buffer.buffer_info()[0]),
            ctypes.c_void_p(ctypes.addressof(self._length)),
            ctypes.c_void_p(self._out.buffer_info()[0]),
        )

    def score(self, row: Sequence[float]) -> float:
        """The first class's score; identical to ``Booster.predict``. ``row`` has every feature, NaN for missing."""
        self._pack(self._buffer, 0, *row)
        if self._fast(*self._arguments):
            _check(1)
        return self._out[0]

    def scores(self, row: Sequence[float]) -> tuple[float, ...]:
        """All classes' scores."""
        self.score(row)
        return tuple(self._out)

    def close(self) -> None:
        """Free the configuration."""
        if self._config:
            library().LGBM_FastConfigFree(self._config)
            self._config = ctypes.c_void_p()
            self._pack = _closed
