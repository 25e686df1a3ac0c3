# SPDX-License-Identifier: Apache-2.0
"""cairn analyze: what files would cost, without a cluster; and that a cluster then agrees."""
import json
import os
import struct
import subprocess
import zlib

import pytest

from conftest import BIN, NO_TIER, MiB, eventually, seeded_bytes


def analyze(*args, status=0):
    done = subprocess.run([BIN / "cairn", "analyze", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


def report_of(*args):
    return json.loads(analyze("--json", *args))


def weights(length, seed):
    """Numbers as bf16 whose exponents say little: half of each is worth storing."""
    noise = bytearray(seeded_bytes(length, seed))
    noise[1::2] = bytes(0x3c | (b & 1) for b in noise[1::2])
    return bytes(noise)


def model(tensors, note=""):
    header, at = {"__metadata__": {"note": note}}, 0
    for name, content in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [len(content) // 2], "data_offsets": [at, at + len(content)]}
        at += len(content)
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + b"".join(tensors.values())


@pytest.fixture
def pair(tmp_path):
    """Two versions of a model: another header, and a tensor that changed."""
    same, old, new = weights(MiB(2), 1), weights(MiB(1), 2), weights(MiB(1), 3)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    first.write_bytes(model({"layer.0": same, "layer.1": old}))
    second.write_bytes(model({"layer.0": same, "layer.1": new}, "a longer header, so that all behind it is moved"))
    return first, second


def test_the_second_file_shares_what_it_has_of_the_first(pair):
    report = report_of(*pair)
    first, second = report["files"]
    assert (first["format"], first["cut"], first["bytes_shared"]) == ("safetensors", "content", 0)
    assert second["bytes_shared"] == MiB(2) and second["bytes_shared_within"] == 0
    assert report["total"]["bytes_plain"] == sum(os.path.getsize(f) for f in pair)
    names = {tensor["name"]: tensor for tensor in second["tensors"]}
    assert names["layer.0"]["bytes_shared"] == MiB(2) and names["layer.1"]["bytes_shared"] == 0
    assert names["layer.0"]["dtype"] == "bf16" and names["layer.0"]["bytes_plain"] == MiB(2)
    on_the_grid = report_of("--grid", *pair)["files"][1]
    assert (on_the_grid["cut"], on_the_grid["bytes_shared"]) == ("grid", 0)


def test_sums_are_those_of_the_blocks(pair):
    for codec in ["raw", "zstd", "auto", "small"]:
        (file,) = report_of("--codec", codec, "--block-list", pair[0])["files"]
        blocks = file["list"]
        assert sum(b["length"] for b in blocks) == os.path.getsize(pair[0]) == file["bytes_plain"]
        assert [b["offset"] for b in blocks] == [sum(b["length"] for b in blocks[:i]) for i in range(len(blocks))]
        assert sum(b["encoded"] for b in blocks) == file["bytes_encoded"]
        assert sum(sums["bytes_plain"] for sums in file["codecs"].values()) == file["bytes_plain"]
        assert sum(sums["bytes_plain"] for sums in file["dtypes"].values()) == file["bytes_plain"]
        assert all(b["encoded"] <= b["length"] + 64 for b in blocks)
    assert file["codec"] > 1.3 # half of each number is noise


def test_a_cluster_stores_what_was_said(make_cluster, pair):
    said = report_of("--codec", "zstd", "--block-list", pair[0])["files"][0]
    cluster = make_cluster(sets=[NO_TIER, "client.codec=zstd", "client.seal_ms=0"])
    (cluster.mnt / "m").write_bytes(pair[0].read_bytes())
    cluster.cairn("seal", cluster.mnt / "m")
    done = eventually(lambda: (lambda d: d if d.returncode == 0 else None)(
        cluster.cairn("stat", "--json", "--blocks", cluster.mnt / "m", check=False)), what="every copy")
    (found,) = json.loads(done.stdout)
    stored = {b["id"]: b["stored"] for b in found["list"] if not b["node"]}
    assert stored == {b["id"]: b["encoded"] for b in said["list"]}


def pixels(path):
    """Width, height and rows of a PNG of 8-bit RGB that has no filters but those of its kind; chunks by name."""
    data, at, chunks = path.read_bytes(), 8, {}
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack(">I", data[at + 8 + length:at + 12 + length])[0]
        chunks[name] = chunks.get(name, b"") + body
        at += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)
    return width, height, chunks


def test_plots(pair, tmp_path):
    text = analyze("--plot", "-", *pair)
    assert text.count("  left   |") == 2 and text.count("  shared |") == 1
    assert "█" in text and "layer.0" in text
    analyze("--plot", tmp_path / "p.png", *pair)
    width, height, chunks = pixels(tmp_path / "p.png")
    assert width > 1024 and height > 400
    assert b"left after encoding" in chunks[b"tEXt"]
    other = tmp_path / "another name"
    other.symlink_to(pair[1])
    analyze("--plot", tmp_path / "q.png", pair[0], other)
    assert pixels(tmp_path / "q.png")[2][b"IDAT"] != chunks[b"IDAT"] # names are in the picture
    assert "  left   |" not in analyze(pair[0]) # no terminal


def test_speeds_are_of_every_codec(pair):
    speed = report_of("--speed", pair[0])["speed"]
    assert {"raw", "lz4", "zstd"} <= set(speed)
    assert all(s["decode_bytes_per_s"] > 0 and s["codec"] > 0.99 for s in speed.values())


def test_what_cannot_be_analyzed_is_named(pair, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(pair[0].read_bytes()[:100]) # a header that ends too early
    report = json.loads(analyze("--json", tmp_path / "missing", tmp_path, tmp_path / "empty", tmp_path / "cut", status=1))
    assert [f["bytes_plain"] for f in report["files"]] == [0, 100]
    analyze("--plot", "-", tmp_path / "empty", tmp_path / "cut")
    analyze("--codec", "rar", pair[0], status=2)
    analyze(status=2)
    analyze("--plot", tmp_path / "no/where.png", pair[0], status=1)
