# SPDX-License-Identifier: Apache-2.0
"""
A model and its relatives: files that hold the same tensors with another header, other names, another order, another
sharding, another format, with a few rows more, or trained a little further. What a second file of such a pair costs
is what cutting by content is judged by. Everything follows from the tensors and a seed.
"""
import json

import numpy as np

import tensors as ts
import writers

ROWS = 48
TUNED_SHARE = 0.1
SHARDS = 3
KIB_64 = 64 << 10


def synthetic(size, seed, dtype="BF16"):
    """Layers as a small language model has them, with values as training leaves them: normal, a scale per tensor."""
    rng = np.random.default_rng(seed)
    width = 256 if size < 8 << 20 else 512
    out, total, layer = [], 0, 0

    def add(name, *shape):
        nonlocal total
        values = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02 * 2 ** rng.uniform(-1, 1))
        out.append(ts.make(name, dtype, shape, ts.bytes_of(values, dtype)))
        total += len(out[-1].data)

    add("model.embed_tokens.weight", max(1024, size // (8 * width * ts.BYTES[dtype])), width)
    while total < size:
        for part, shape in (("q_proj", (width, width)), ("k_proj", (width // 4, width)), ("v_proj", (width // 4, width)),
                            ("o_proj", (width, width)), ("up_proj", (3 * width, width)), ("down_proj", (width, 3 * width)),
                            ("norm", (width,))):
            add(f"model.layers.{layer}.{part}.weight", *shape)
        layer += 1
    return out


def resized(model, size, seed):
    """More of the same: copies of the tensors with their elements shuffled, until there are that many bytes."""
    if not size:
        return model
    rng = np.random.default_rng(seed)
    out, total, turn = [], 0, 0
    while total < size:
        for t in model:
            if total >= size:
                break
            if turn:
                values = np.frombuffer(t.data, f"V{ts.BYTES[t.dtype]}")
                t = t._replace(name=f"{t.name}.{turn}", data=rng.permutation(values).tobytes())
            out.append(t)
            total += len(t.data)
        turn += 1
    return out


def bytes_of(model):
    return sum(len(t.data) for t in model)


def by_size(model):
    """Large ones first, then by name: an order that no writer of the first file used."""
    return sorted(model, key=lambda t: (-len(t.data), t.name))


def with_rows(model, seed):
    """48 rows more in the middle of the largest matrix, as when a vocabulary grows."""
    rng = np.random.default_rng(seed)
    largest = max((t for t in model if len(t.shape) > 1), key=lambda t: (t.shape[0] >= ROWS, len(t.data)))
    middle = largest.shape[0] // 2 * largest.row_bytes
    rows = np.frombuffer(largest.data, "u1").reshape(largest.shape[0], -1)
    new = rows[rng.integers(0, len(rows), ROWS)]
    new = np.stack([np.roll(row, ts.BYTES[largest.dtype] * int(rng.integers(1, 1 + len(row) // 8))) for row in new])
    more = largest._replace(shape=(largest.shape[0] + ROWS,) + largest.shape[1:],
                            data=largest.data[:middle] + new.tobytes() + largest.data[middle:])
    return [more if t is largest else t for t in model]


def tuned(model, seed):
    """The last tenth of the bytes trained a little further: each value moves by a few hundredths of itself."""
    rng = np.random.default_rng(seed)
    start, at, out = int(bytes_of(model) * (1 - TUNED_SHARE)), 0, []
    for t in model:
        end = at + len(t.data)
        if end > start:
            same = max(0, start - at) // ts.BYTES[t.dtype]
            if t.dtype in ("F32", "F16", "BF16"):
                values = ts.values_of(t).copy()
                values[same:] *= 1 + 0.05 * rng.standard_normal(len(values) - same, dtype=np.float32)
                data = ts.bytes_of(values, t.dtype)
            else:
                words = np.frombuffer(t.data, f"V{ts.BYTES[t.dtype]}").copy()
                words[same:] = rng.permutation(words[same:])
                data = words.tobytes()
            t = t._replace(data=t.data[:same * ts.BYTES[t.dtype]] + data[same * ts.BYTES[t.dtype]:])
        at = end
        out.append(t)
    return out


def shards_of(model, count):
    """That many runs of tensors of about the same size."""
    out, at, total = [[] for _ in range(count)], 0, bytes_of(model)
    for t in model:
        out[min(count - 1, at * count // total)].append(t)
        at += len(t.data)
    return [shard for shard in out if shard]


def pair(name, first, second, target, why):
    return {"name": name, "first": first, "second": second, "target": round(target, 4), "why": why}


def write(folder, model, seed=1):
    """All files, and variants.json beside them: the pairs, and which share of the second is to be found in the first."""
    folder.mkdir(parents=True, exist_ok=True)
    total = bytes_of(model)

    def safetensors(name, tensors, **more):
        writers.write_safetensors(folder / f"{name}.safetensors", tensors, **more)
        return [f"{name}.safetensors"]

    base = safetensors("base", model)
    grown = with_rows(model, seed)
    shards = []
    for i, shard in enumerate(shards_of(model, SHARDS)):
        shards += safetensors(f"model-{i + 1:05}-of-{SHARDS:05}", shard)
    pairs = [
        pair("header", base, safetensors("header", model, metadata={"format": "pt", "comment": "another " * 40}), 0.97,
             "a metadata key more"),
        pair("renamed", base, safetensors("renamed", [t._replace(name=f"base_model.{t.name}") for t in model]), 0.97,
             "names with a prefix"),
        pair("sharded", base, shards, 0.97, f"one file as {SHARDS}"),
        pair("joined", shards, base, 0.97, f"{SHARDS} files as one"),
        pair("sorted", base, safetensors("sorted", by_size(model)), 0.95, "tensors in another order"),
        pair("rows", base, safetensors("rows", grown), total / bytes_of(grown) - 0.02, f"{ROWS} rows inserted"),
        pair("tuned", base, safetensors("tuned", tuned(model, seed)), 1 - TUNED_SHARE - 0.02, "the last tenth trained"),
    ]
    kinds = {"onnx": ("as ONNX", set(writers.ONNX)), "gguf": ("as GGUF", set(writers.GGUF)),
             "npz": ("as npz", set(writers.NUMPY)), "pt": ("as a PyTorch archive", set(writers.TORCH))}
    for kind, (why, dtypes) in kinds.items():
        if {t.dtype for t in model} <= dtypes:
            writers.WRITERS[kind](folder / f"model.{kind}", model)
            pairs.append(pair(kind, base, [f"model.{kind}"], 0.95, why))
    pairs.append(pair("from-onnx", ["model.onnx"], base, 0.95, "ONNX, then safetensors"))
    large = sum(len(t.data) for t in model if len(t.data) >= KIB_64)
    (folder / "variants.json").write_text(json.dumps(
        {"bytes": total, "share_of_large_tensors": round(large / total, 4), "pairs": pairs}, indent=1) + "\n",
        encoding="utf-8")
    return pairs
