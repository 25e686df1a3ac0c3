# SPDX-License-Identifier: Apache-2.0
"""The same tensors as safetensors, ONNX, GGUF, npz, and as a PyTorch archive."""
import json
import pathlib
import struct
import zipfile

import numpy as np

ONNX = {"F32": 1, "U8": 2, "I8": 3, "I32": 6, "I64": 7, "BOOL": 9, "F16": 10, "F64": 11, "BF16": 16}
GGUF = {"F32": 0, "F16": 1, "I8": 24, "I32": 26, "I64": 27, "F64": 28, "BF16": 30}
NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I64": "<i8", "I32": "<i4", "I8": "i1", "U8": "u1",
         "BOOL": "?"}
TORCH = {"F32": "Float", "F16": "Half", "BF16": "BFloat16", "F64": "Double", "I64": "Long", "I32": "Int", "I8": "Char",
         "U8": "Byte", "BOOL": "Bool"}
GGUF_ALIGN, TORCH_ALIGN = 32, 64


def write_safetensors(path, tensors, metadata=None):
    header, at = {"__metadata__": metadata or {"format": "pt"}}, 0
    for t in tensors:
        header[t.name] = {"dtype": t.dtype, "shape": list(t.shape), "data_offsets": [at, at + len(t.data)]}
        at += len(t.data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors:
            f.write(t.data)


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def write_onnx(path, tensors, name=b"model"):
    """A graph of initializers, their bytes as raw_data."""
    graph = field(2, name)
    for t in tensors:
        graph += field(5, b"".join(field(1, n) for n in t.shape) + field(2, ONNX[t.dtype]) + field(8, t.name.encode()) +
                       field(9, t.data))
    pathlib.Path(path).write_bytes(field(1, 8) + field(2, b"cairn") + field(7, graph) + field(8, field(2, 17)))


def gguf_text(text):
    return struct.pack("<Q", len(text)) + text


def write_gguf(path, tensors):
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 2)
    header += gguf_text(b"general.architecture") + struct.pack("<I", 8) + gguf_text(b"llama")
    header += gguf_text(b"general.alignment") + struct.pack("<II", 4, GGUF_ALIGN)
    at = 0
    for t in tensors:
        header += gguf_text(t.name.encode()) + struct.pack("<I", len(t.shape))
        header += b"".join(struct.pack("<Q", n) for n in reversed(t.shape)) + struct.pack("<IQ", GGUF[t.dtype], at)
        at += len(t.data) + -len(t.data) % GGUF_ALIGN
    with open(path, "wb") as f:
        f.write(header + bytes(-len(header) % GGUF_ALIGN))
        for t in tensors:
            f.write(t.data + bytes(-len(t.data) % GGUF_ALIGN))


def write_npz(path, tensors):
    """As numpy.savez stores it; it has no bf16, so that is 16 bits without a meaning."""
    np.savez(path, **{t.name: np.frombuffer(t.data, NUMPY[t.dtype]).reshape(t.shape) for t in tensors})


def pickled(value):
    """Protocol 2, as torch.save writes it, for the few kinds of a state dict."""
    if isinstance(value, bool):
        return b"\x89" if not value else b"\x88"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value) if value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)
    if isinstance(value, str):
        text = value.encode()
        return b"X" + struct.pack("<I", len(text)) + text
    assert isinstance(value, tuple)
    return b"(" + b"".join(pickled(v) for v in value) + b"t"


def pickled_tensor(t, key):
    strides = tuple(int(np.prod(t.shape[i + 1:], dtype=np.int64)) for i in range(len(t.shape)))
    storage = b"(" + pickled("storage") + f"ctorch\n{TORCH[t.dtype]}Storage\n".encode() + pickled(str(key)) + \
        pickled("cpu") + pickled(int(np.prod(t.shape, dtype=np.int64))) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + pickled(0) + pickled(t.shape) + pickled(strides) + \
        pickled(False) + b"ccollections\nOrderedDict\n)RtR"


def write_torch(path, tensors):
    """A zip archive without compression; each storage is a member that begins at a multiple of 64."""
    state = b"\x80\x02}(" + b"".join(pickled(t.name) + pickled_tensor(t, i) for i, t in enumerate(tensors)) + b"u."
    stem = pathlib.Path(path).stem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in [("data.pkl", state)] + [(f"data/{i}", t.data) for i, t in enumerate(tensors)] + \
                [("version", b"3\n")]:
            info = zipfile.ZipInfo(f"{stem}/{name}")
            start = archive.fp.tell() + 30 + len(info.filename) + 4
            pad = -start % TORCH_ALIGN
            info.extra = struct.pack("<2sH", b"FB", pad) + b"Z" * pad
            archive.writestr(info, data)


WRITERS = {"safetensors": write_safetensors, "onnx": write_onnx, "gguf": write_gguf, "npz": write_npz, "pt": write_torch}
