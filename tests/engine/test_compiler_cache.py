import os
import stat

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import cache_dir, default_cache_dir

from quickstudy.engine.compiler_cache import CACHE_VARIABLE, use_private_cache
from quickstudy.engine.executors import Compiled
from quickstudy.errors import UsageError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")


@pytest.fixture(autouse=True)
def no_named_cache(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, "")  # so that it is restored
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("earlier", [None, default_cache_dir()])
def test_compiled_code_is_kept_in_a_folder_of_the_user(tmp_path, monkeypatch, earlier):
    if earlier:  # PyTorch sets it when it compiles
        monkeypatch.setenv(CACHE_VARIABLE, earlier)
    use_private_cache()
    use_private_cache()
    folder = tmp_path / "cache" / "quickstudy" / "inductor"
    assert cache_dir() == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_named_cache_stays_unless_others_can_write_there(tmp_path, monkeypatch):
    named = tmp_path / "named"
    monkeypatch.setenv(CACHE_VARIABLE, str(named))
    use_private_cache()
    assert cache_dir() == str(named)
    named.chmod(0o777)
    with pytest.raises(UsageError, match=r"only you can write to, got .*named"):
        use_private_cache()


def test_where_the_cache_is_not_the_users_alone_a_temporary_folder_serves(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.warns(UserWarning, match="not saved for the next run: .*other users can write"):
        use_private_cache()
    folder = os.environ[CACHE_VARIABLE]
    assert not folder.startswith(str(tmp_path / "cache"))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


def test_nothing_of_a_compiled_step_lies_where_all_users_write(tmp_path, monkeypatch):
    """Precompiled headers too, which PyTorch keeps in its default folder, or there are none."""
    from torch._inductor import codecache

    seen = {}

    def compile(graph, inputs, options):
        seen.update(options, cache=os.environ[CACHE_VARIABLE])
        return graph

    monkeypatch.setattr("torch._inductor.compile", compile)
    step = Compiled()._compile(lambda x: [x.sin().sum()], [torch.zeros(3)])
    assert float(step([torch.zeros(3)])[0]) == 0
    cache = str(tmp_path / "cache" / "quickstudy" / "inductor")
    assert seen["cache"] == cache
    assert seen["cpp_cache_precompile_headers"] is True
    assert codecache._HEADER_DIR.startswith(cache)
    assert codecache._HEADER_LOCK_DIR.startswith(cache)
    monkeypatch.delattr(codecache, "_HEADER_DIR")  # as in a PyTorch that has another way
    Compiled()._compile(lambda x: [x.sin().sum()], [torch.zeros(3)])
    assert seen["cpp_cache_precompile_headers"] is False
