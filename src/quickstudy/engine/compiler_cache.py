"""Where TorchInductor keeps what it compiles, and loads it from to run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from platformdirs import user_cache_path

from quickstudy.errors import DiskError, UsageError
from quickstudy.files import make_private, only_user_writes

__all__ = ["CACHE_VARIABLE", "use_private_cache", "use_private_headers"]

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that names TorchInductor's cache."""


def use_private_cache() -> None:
    """Let TorchInductor keep what it compiles in the user's cache, in a folder of mode 700.

    Its own default is a folder of a known name where all users can make it, so another user could
    put libraries there. A folder that the user names in `TORCHINDUCTOR_CACHE_DIR` stays. If the
    user's cache cannot be written, or others can write to it, a new temporary folder is taken.

    Raises:
        UsageError: If others can write to the folder that the user named.
    """
    named = os.environ.get(CACHE_VARIABLE)
    if named and not _is_default(named):
        folder = Path(named).resolve()
        if not folder.exists():
            make_private(folder)
        if not only_user_writes(folder):
            raise UsageError(
                f"expected {CACHE_VARIABLE} to name a folder that only you can write to, got "
                f"{folder}, from which the code of others would run: unset it, or name another"
            )
        return
    folder = user_cache_path("quickstudy") / "inductor"
    try:
        make_private(folder)
    except DiskError as error:
        folder = Path(tempfile.mkdtemp(prefix="quickstudy-inductor-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        warnings.warn(f"compiled code is not saved for the next run: {error}", stacklevel=2)
    os.environ[CACHE_VARIABLE] = str(folder)


def use_private_headers() -> bool:
    """Let TorchInductor's precompiled headers lie in the cache of `use_private_cache` too.

    PyTorch keeps them where all users can make a folder of that name, whatever the cache's place
    (seen with 2.13). They save more than half of the time to compile a small step.

    Returns:
        Whether this version of PyTorch lets us; else it should do without them.
    """
    from torch._inductor import codecache

    if not hasattr(codecache, "_HEADER_DIR") or not hasattr(codecache, "_HEADER_LOCK_DIR"):
        return False
    folder = Path(os.environ[CACHE_VARIABLE]) / "precompiled_headers"
    codecache._HEADER_DIR = str(folder)
    codecache._HEADER_LOCK_DIR = str(folder / "locks")
    return True


def _is_default(named: str) -> bool:
    """Whether PyTorch, not the user, has set the variable."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # which may make it

    return Path(named) == Path(default_cache_dir())
