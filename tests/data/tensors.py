# SPDX-License-Identifier: Apache-2.0
"""A tensor as bytes with a name, and its values rounded to another type."""
from typing import NamedTuple

import numpy as np

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


class Tensor(NamedTuple):
    name: str
    dtype: str              # as safetensors calls it
    shape: tuple
    data: bytes             # little endian, row after row

    @property
    def row_bytes(self):
        return len(self.data) // self.shape[0] if self.shape and self.shape[0] else len(self.data)


def make(name, dtype, shape, data):
    shape = tuple(int(n) for n in shape)
    count = int(np.prod(shape, dtype=np.int64))
    if count * BYTES[dtype] != len(data):
        raise ValueError(f"{name}: {len(data)} bytes are not {shape} of {dtype}")
    return Tensor(name, dtype, shape, bytes(data))


def bf16_bits(values):
    """fp32 to the upper 16 bits, to nearest, ties to even; a NaN stays one."""
    bits = np.ascontiguousarray(values, dtype="<f4").view("<u4")
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")


def values_of(tensor):
    """Its values as fp32."""
    if tensor.dtype == "BF16":
        return (np.frombuffer(tensor.data, "<u2").astype("<u4") << 16).view("<f4")
    kind = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[tensor.dtype]
    return np.frombuffer(tensor.data, kind).astype("<f4")


def bytes_of(values, dtype):
    if dtype == "BF16":
        return bf16_bits(values).tobytes()
    with np.errstate(over="ignore"):
        return np.asarray(values).astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def rounded(tensor, dtype):
    """The same in another float type; what holds no floats stays as it is."""
    if tensor.dtype not in ("F32", "F16", "BF16") or tensor.dtype == dtype:
        return tensor
    return tensor._replace(dtype=dtype, data=bytes_of(values_of(tensor), dtype))
