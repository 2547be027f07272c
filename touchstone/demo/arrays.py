"""Columns by the million: keys, numbers and texts made by whole-array operations, ready for Arrow.

What belongs here knows no marketplace: hashing counters to ids, turning numpy arrays into Arrow columns of the
contract's types, picking and joining phrases. Nothing here walks over rows in Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]

MICROSECONDS_PER_DAY = 86_400_000_000
TIMESTAMP = pa.timestamp("us", tz="UTC")
DECIMAL = pa.decimal128(18, 4)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def salt(*parts: int | str) -> np.uint64:
    """Returns 64 bits that depend on `parts` alone."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


def mix(values: Keys) -> Keys:
    """Returns splitmix64's finaliser of `values`: one to one, so that different counters give different keys."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def keys(salted: np.uint64, counters: npt.NDArray[Any]) -> Keys:
    """Returns a key for each counter; under one salt, different counters never share one."""
    return mix(mix(counters.astype(np.uint64)) ^ salted)


def unit(salted: np.uint64, counters: npt.NDArray[Any]) -> Floats:
    """Returns for each counter a number in [0, 1) that depends on the salt and the counter alone."""
    return np.asarray((keys(salted, counters) >> np.uint64(11)) * 2.0**-53, dtype=np.float64)


def generator(seed: int, stream: str, chunk: int = 0) -> np.random.Generator:
    """Returns the random generator of one stage of one chunk, independent of every other stage and chunk."""
    return np.random.default_rng([seed, chunk, int(salt(stream)) & 0xFFFFFFFF])


def hex_digits(values: Keys) -> npt.NDArray[np.uint8]:
    """Returns an (n, 16) array of the hexadecimal digits of `values`; sorting by them is sorting by the value."""
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)
    digits = np.empty((len(values), 16), dtype=np.uint8)
    digits[:, 0::2] = _HEX[octets >> 4]
    digits[:, 1::2] = _HEX[octets & 15]
    return digits


def fixed_text(characters: npt.NDArray[np.uint8]) -> pa.Array:
    """Turns an (n, width) array of ASCII characters into a string column."""
    count, width = characters.shape
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    data = np.ascontiguousarray(characters)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


def id_text(values: Keys, prefix: str = "") -> pa.Array:
    """Writes keys as ids: the prefix and 16 hexadecimal digits."""
    head = np.frombuffer(prefix.encode(), dtype=np.uint8)
    characters = np.empty((len(values), len(head) + 16), dtype=np.uint8)
    characters[:, : len(head)] = head
    characters[:, len(head) :] = hex_digits(values)
    return fixed_text(characters)


def nullable(column: pa.Array, is_known: Bools) -> pa.Array:
    """Returns the column with null where `is_known` is false."""
    return pc.if_else(pa.array(is_known), column, pa.scalar(None, column.type))


def decimals(values: Floats) -> pa.Array:
    """Rounds to cents and returns decimal(18, 4); not-a-number becomes null."""
    is_known = np.isfinite(values)
    scaled = np.rint(np.where(is_known, values, 0.0) * 100.0).astype(np.int64) * 100
    words = np.empty((len(values), 2), dtype=np.int64)
    words[:, 0] = scaled
    words[:, 1] = scaled >> 63
    column = pa.Array.from_buffers(DECIMAL, len(values), [None, pa.py_buffer(words)])
    return column if bool(is_known.all()) else nullable(column, is_known)


def phrases(pool: Sequence[str], index: npt.NDArray[Any]) -> pa.Array:
    """Returns the phrase of the pool at each index; a negative index is null."""
    positions = pa.array(index.astype(np.int32), mask=index < 0)
    return pa.array(pool, pa.string()).take(positions)


def picked(rng: np.random.Generator, pool: Sequence[str], count: int) -> pa.Array:
    """Returns `count` phrases drawn evenly from the pool."""
    return phrases(pool, rng.integers(0, len(pool), count))


def weighted(rng: np.random.Generator, weights: Sequence[float], count: int) -> Ints:
    """Returns `count` indices drawn with the given weights."""
    cumulative = np.cumsum(np.asarray(weights, dtype=np.float64))
    return np.searchsorted(cumulative / cumulative[-1], rng.random(count), side="right").astype(np.int64)


def joined(parts: Sequence[pa.Array | str], separator: str = " ") -> pa.Array:
    """Joins texts row by row; null parts are left out, and a row of nothing but nulls becomes an empty text.

    Arrow alone would leave such a row out, and every later one would move up.
    """
    first, *others = parts
    if all(part.null_count for part in parts if isinstance(part, pa.Array)):
        is_empty = reduce(pc.and_, [pc.is_null(part) for part in parts])
        first = pc.if_else(is_empty, pa.scalar(""), first)
    return pc.binary_join_element_wise(first, *others, separator, null_handling="skip")


def sigmoid(values: Floats) -> Floats:
    """Returns the logistic function."""
    return 1.0 / (1.0 + np.exp(-values))
