"""How the native part was built and what it found on this machine."""

from __future__ import annotations

import warnings

from pickwise import _native


def build_info() -> dict[str, object]:
    """Tell how pickwise was built and what it uses on this machine.

    Returns
    -------
    dict
        ``version``; ``profile``, "release" or "debug"; ``target``, such as "x86_64-linux"; ``simd_available``, the
        instruction sets that the CPU has, and ``simd``, the one in use (``PICKWISE_SIMD`` forces one); ``threads``.

    Examples
    --------
    >>> import pickwise as pw
    >>> pw.build_info()["simd"] in pw.build_info()["simd_available"]
    True
    """
    return _native.build_info()


def warn_of_debug_build() -> None:
    """Warn if the native part is a debug build, which is many times slower."""
    if _native.build_info()["profile"] == "debug":
        message = "this is a debug build of pickwise, many times slower than a release build: build it with --release"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
