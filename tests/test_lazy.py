"""Packages whose modules are imported when they are first used."""

import importlib
import subprocess
import sys

import pytest

LAZY = ["quickstudy.apps.automl", "quickstudy.diagnostics", "quickstudy.serve"]


@pytest.mark.parametrize("package", LAZY)
def test_all_names_are_there_and_listed(package):
    module = importlib.import_module(package)
    assert all(hasattr(module, name) for name in module.__all__)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = module.nothing


@pytest.mark.parametrize("package", LAZY)
def test_a_package_loads_without_torch(package):
    command = f"import sys, {package}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)
