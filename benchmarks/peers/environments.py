"""An environment a peer, made from PyPI in `.envs/` when first needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

__all__ = ["PEERS", "InstallError", "Peer", "python_of"]

HERE = Path(__file__).parent


class InstallError(Exception):
    """A peer could not be installed."""


@dataclass(frozen=True)
class Peer:
    """A peer and what it needs.

    Args:
        title: Its name in tables and pictures.
        worker: The file that does its work, and arguments.
        environment: Folder in `.envs/`; None is the environment this runs in.
        packages: What pip installs, without dependencies where torch is shared.
        unpacked: A source distribution whose modules are copied as they are, since it does not
            build.
        shares_torch: Whether PyTorch and NumPy are those of the environment this runs in.
    """

    title: str
    worker: tuple[str, ...]
    environment: str | None = None
    packages: tuple[str, ...] = ()
    unpacked: str | None = None
    shares_torch: bool = True


PEERS: dict[str, Peer] = {
    "quickstudy": Peer("quickstudy", ("quickstudy_.py",)),
    "torch_loop": Peer("torch loop by hand", ("torch_loop.py",)),
    "learn2learn": Peer(
        "learn2learn", ("learn2learn_.py",), "learn2learn", unpacked="learn2learn==0.2.0"
    ),
    "higher": Peer("higher", ("higher_.py",), "higher", ("higher==0.2.1",)),
    "torchopt": Peer(
        "TorchOpt", ("torchopt_.py",), "torchopt", ("torchopt==0.7.3", "optree", "graphviz")
    ),
    "easyfsl": Peer("easyfsl", ("easyfsl_.py",), "easyfsl", ("easyfsl==1.5.0",)),
    "parallel_metalearn": Peer(
        "parallel-metalearn",
        ("parallel_metalearn.py",),
        "parallel_metalearn",
        ("parallel-metalearn==0.5.6", "tqdm"),
    ),
    "jax": Peer("JAX by hand", ("jax_.py",), "jax", ("jax",), shares_torch=False),
    "jax_matmul": Peer(
        "JAX, convolution as matmul",
        ("jax_.py", "matmul"),
        "jax",
        ("jax",),
        shares_torch=False,
    ),
}


def python_of(peer: Peer) -> Path:
    """The Python that runs a peer, with all it needs.

    Raises:
        InstallError: If it cannot be installed.
    """
    if peer.environment is None:
        return Path(sys.executable)
    folder = HERE / ".envs" / peer.environment
    python, made_of = folder / "bin" / "python", folder / "made_of.json"
    wanted = json.dumps([asdict(peer)["packages"], peer.unpacked, sys.version, str(shared())])
    if made_of.exists() and made_of.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run([sys.executable, "-m", "venv", str(folder)])
        if peer.packages:
            alone = ["--no-deps"] if peer.shares_torch else []
            _run([str(python), "-m", "pip", "install", *QUIET, *alone, *peer.packages])
        if peer.unpacked:
            _unpack(python, peer.unpacked)
        if peer.shares_torch:
            (_packages(python) / "torch_of_quickstudy.pth").write_text(f"{shared()}\n")
    except InstallError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    made_of.write_text(wanted)
    return python


QUIET = ("--quiet", "--disable-pip-version-check")


def shared() -> Path:
    """The folder that torch was imported from."""
    return Path(torch.__file__).parents[1]


def _unpack(python: Path, requirement: str) -> None:
    """Copy the modules of a source distribution, and its metadata, into an environment."""
    name = requirement.partition("==")[0]
    with tempfile.TemporaryDirectory() as scratch:
        download = [str(python), "-m", "pip", "download", *QUIET, "--no-deps", "--dest", scratch]
        _run([*download, f"--no-binary={name}", requirement])
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        source = Path(scratch) / archive.name.removesuffix(".tar.gz")
        for part in (name, f"{name}.egg-info"):
            shutil.copytree(source / part, _packages(python) / part)


def _packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(_run([str(python), "-c", code]).strip())


def _run(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        errors = [line for line in lines if "error" in line.lower()]
        raise InstallError((errors or lines)[-1].strip())
    return result.stdout
