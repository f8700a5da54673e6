"""What it takes to do the same again: command, commit, versions, machine."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from quickstudy.errors import hide_passwords
from quickstudy.files import readable
from quickstudy.version import __version__

__all__ = ["provenance"]


def provenance(seed: int) -> dict[str, Any]:
    """What it takes to do the same again.

    PyTorch and what it uses of the processor are left out where the process does without it.
    """
    machine = [_processor(), f"{os.cpu_count()} cores", platform.system()]
    about: dict[str, Any] = {
        "seed": seed,
        "command": readable(
            shlex.join([Path(sys.argv[0]).name, *map(hide_passwords, sys.argv[1:])])
        ),
        "quickstudy": __version__,
        "commit": _commit(),
    }
    if "torch" in sys.modules:  # slow to import for its version alone
        import torch

        from quickstudy.engine.precision import instruction_set

        about["torch"] = torch.__version__
        machine.append(instruction_set())
    return {**about, "machine": ", ".join(machine)}


def _commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    source = Path(__file__).parents[3]
    if not (source / ".git").exists() or not shutil.which("git"):
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def _processor() -> str:
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
