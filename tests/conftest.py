"""Settings that must hold before any library is imported, and fixtures that every test may use."""

import os
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TRACKIO_DIR", tempfile.mkdtemp(prefix="trackio-"))

import pytest
import torch


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers in every test, whatever ran before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def few_threads():
    """Two, or as many as are asked for where several processes share the tests."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", min(2, os.cpu_count() or 1))))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 6 rows, which are written in chunks of 4 and 2."""
    from regen_hf.cache import shards

    monkeypatch.setattr(shards, "SHARD_ROWS", 6)
    monkeypatch.setattr(shards, "CHUNK_BYTES", 40)


@pytest.fixture(scope="module")
def one_thread():
    """Two would wait for each other on tensors as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
