import os
import platform
import subprocess
import sys

import pytest

from quickstudy import memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

STEPS = """
import resource, sys
import numpy as np
from quickstudy.memory import tuned_malloc

def steps(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        parts = [np.ones(size) for size in (3_000_000, 7_000_000, 500_000)]
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

with tuned_malloc(sys.argv[1] == "tuned"):
    steps(2)
    early, faults = resident(), steps(50)
    print(faults, resident() - early, end=" ")
print(resident())
"""


def run(mode, **environment):
    command = [sys.executable, "-c", STEPS, mode]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    result = subprocess.run(
        command, env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return [int(part) for part in result.stdout.split()]


@glibc
def test_freed_memory_serves_the_next_step_does_not_grow_and_is_given_back():
    faults, growth, after = run("tuned")
    usual, _, usual_after = run("as it is")
    assert faults < usual / 100
    assert growth < 2**20
    assert after < usual_after + 2**23


@glibc
@pytest.mark.parametrize(
    "environment",
    [
        {"QUICKSTUDY_TUNE_MALLOC": "0"},
        {"MALLOC_ARENA_MAX": "4"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"},
    ],
)
def test_settings_of_the_users_own_are_left_alone(environment):
    assert run("tuned", **environment)[0] > 10_000


def test_nested_uses_end_with_the_outermost(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "_glibc", object)
    monkeypatch.setattr(memory, "_set", lambda libc, settings: calls.append(settings))
    monkeypatch.setattr(memory, "_reserve", lambda libc: calls.append("reserve"))
    monkeypatch.setattr(memory, "_release", lambda libc: calls.append("release"))
    with pytest.raises(KeyError), memory.tuned_malloc(), memory.tuned_malloc():
        raise KeyError
    assert calls == [memory.TUNED_SETTINGS, "reserve", memory.DEFAULT_SETTINGS, "release"]


def test_without_glibc_nothing_happens(monkeypatch):
    def windows(name):
        raise TypeError("argument of type NoneType")

    monkeypatch.setattr(memory.ctypes, "CDLL", windows)
    with memory.tuned_malloc():
        pass
