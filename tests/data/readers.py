# SPDX-License-Identifier: Apache-2.0
"""
Tensors out of the files of frameworks: TensorFlow.js, ONNX, TensorFlow Lite, Kokoro voices, Tesseract. Only as much
of each format as the packages of packages.py use; what is no tensor is left out.
"""
import json
import pathlib
import struct

import tensors

TFJS = {"float32": "F32", "int32": "I32", "bool": "BOOL", "uint8": "U8"}
ONNX = {1: "F32", 2: "U8", 3: "I8", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64", 16: "BF16"}
TFLITE = {0: "F32", 1: "F16", 2: "I32", 3: "U8", 4: "I64", 6: "BOOL", 9: "I8"}
VOICE_STYLES, VOICE_FLOATS = 510, 256
TESSERACT_LSTM = 17         # the component of a .traineddata that is the network


def read_tfjs(path):
    """model.json beside shards that are one stream, whatever the tensors are."""
    path = pathlib.Path(path)
    for group in json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]:
        stream = b"".join((path.parent / shard).read_bytes() for shard in group["paths"])
        at = 0
        for weight in group["weights"]:
            dtype = TFJS[weight["dtype"]]
            size = tensors.BYTES[dtype]
            for n in weight["shape"]:
                size *= n
            yield tensors.make(weight["name"], dtype, weight["shape"], stream[at:at + size])
            at += size


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(number, value) of a protobuf message: integers, or views of what has a length."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        yield tag >> 3, value


def varints(data):
    at = 0
    while at < len(data):
        value, at = varint(data, at)
        yield value - (1 << 64 if value >> 63 else 0)


def onnx_tensor(data):
    shape, dtype, name, raw = [], None, "", b""
    for number, value in fields(data):
        if number == 1:
            shape += [value] if isinstance(value, int) else varints(value)
        elif number == 2:
            dtype = ONNX.get(value)
        elif number == 8:
            name = bytes(value).decode()
        elif number == 9 or number == 4 and len(value) > 4:         # raw_data, float_data packed
            raw = value
        elif number == 5 and not isinstance(value, int):            # int32_data
            raw = struct.pack(f"<{len(value)}b", *varints(value)) if dtype in ("I8", "BOOL") else b""
        elif number == 7 and not isinstance(value, int):            # int64_data
            items = list(varints(value))
            raw = struct.pack(f"<{len(items)}q", *items)
    return (name, dtype, shape, raw) if dtype and len(raw) else None


def onnx_graph(data):
    """Initializers and constants, those of branches too."""
    for number, value in fields(data):
        if number == 5:                                             # initializer
            yield onnx_tensor(value)
        elif number == 1:                                           # node
            for part, attribute in fields(value):
                if part == 5:
                    for kind, inner in fields(attribute):
                        if kind == 5:                               # tensor
                            yield onnx_tensor(inner)
                        elif kind == 6:                             # graph
                            yield from onnx_graph(inner)


def read_onnx(path):
    seen = {}
    for number, value in fields(memoryview(pathlib.Path(path).read_bytes())):
        if number != 7:
            continue
        for found in filter(None, onnx_graph(value)):
            name, dtype, shape, raw = found
            count = seen[name] = seen.get(name, 0) + 1
            yield tensors.make(f"{name or 'constant'}.{count}" if count > 1 or not name else name, dtype, shape, raw)


class Table:
    """A table of a flatbuffer."""
    def __init__(self, data, at):
        self.data, self.at = data, at
        self.slots = at - struct.unpack_from("<i", data, at)[0]
        self.slots_bytes = struct.unpack_from("<H", data, self.slots)[0]

    def slot(self, number):
        if 4 + 2 * number >= self.slots_bytes:
            return 0
        offset = struct.unpack_from("<H", self.data, self.slots + 4 + 2 * number)[0]
        return offset and self.at + offset

    def number(self, slot, kind):
        at = self.slot(slot)
        return struct.unpack_from(kind, self.data, at)[0] if at else 0

    def vector(self, slot):
        """(where its items begin, how many they are)"""
        at = self.slot(slot)
        if not at:
            return 0, 0
        at += struct.unpack_from("<I", self.data, at)[0]
        return at + 4, struct.unpack_from("<I", self.data, at)[0]

    def tables(self, slot):
        at, count = self.vector(slot)
        for where in range(at, at + 4 * count, 4):
            yield Table(self.data, where + struct.unpack_from("<I", self.data, where)[0])


def read_tflite(path):
    data = pathlib.Path(path).read_bytes()
    model = Table(data, struct.unpack_from("<I", data)[0])
    buffers = list(model.tables(4))
    for graph in model.tables(2):
        for tensor in graph.tables(0):
            at, count = buffers[tensor.number(2, "<I")].vector(0)
            dtype = TFLITE.get(tensor.number(1, "<b"))
            if not count or not dtype:
                continue
            where, dims = tensor.vector(0)
            name_at, name_bytes = tensor.vector(3)
            yield tensors.make(data[name_at:name_at + name_bytes].decode(), dtype,
                               struct.unpack_from(f"<{dims}i", data, where), data[at:at + count])


def read_voices(path):
    for voice in sorted(pathlib.Path(path).glob("*.bin")):
        yield tensors.make(voice.stem, "F32", (VOICE_STYLES, 1, VOICE_FLOATS), voice.read_bytes())


def read_traineddata(path):
    """The network is nearly all int8 matrices, with a few words between them: taken as one tensor."""
    data = pathlib.Path(path).read_bytes()
    count = struct.unpack_from("<I", data)[0]
    starts = struct.unpack_from(f"<{count}q", data, 4)
    start = starts[TESSERACT_LSTM]
    end = min((s for s in starts if s > start), default=len(data))
    yield tensors.make("lstm", "I8", (end - start,), data[start:end])


READERS = {"tfjs": read_tfjs, "onnx": read_onnx, "tflite": read_tflite, "voices": read_voices,
           "traineddata": read_traineddata}


def read(kind, path):
    """The tensors of a model, each name once, in the order of the file."""
    return list(READERS[kind](path))
