"""Random numbers that depend on what they are for, and on nothing else: (seed, purpose, name, number) -> a number.

Common random numbers need this: a function that is added, a policy that is exchanged or a request that is left out
changes no other draw. Philox4x32-10 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11),
written over arrays so that a million draws at any positions take a tenth of a second; numpy's own Philox draws in
sequence only. Distributions are made here by inversion, so that no later numpy changes them.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Words = NDArray[np.uint64]

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_BUMPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
Z99 = 2.3263478740408408
"""The 99th percentile of the standard normal distribution."""
_CHUNK = 1 << 16
"""Draws at a time: keeps the temporary arrays in the cache."""


def key_of(seed: int, purpose: str, name: str) -> int:
    """A 64-bit key. Equal arguments give equal keys on every machine."""
    text = f"{seed}\x00{purpose}\x00{name}".encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, name: str) -> np.random.Generator:
    """A generator of its own, for what is drawn in sequence (as gamma variates are)."""
    text = f"{seed}\x00{purpose}\x00{name}".encode()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(blake2b(text, digest_size=16).digest(), "little")))


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]) -> tuple[Words, Words, Words, Words]:
    """Four random 32-bit words for each counter (four 32-bit words) under each key (two)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> _32) ^ c1 ^ k0, second & _LOW, (first >> _32) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _BUMPS[0]) & _LOW, (k1 + _BUMPS[1]) & _LOW
    return c0, c1, c2, c3


def uniforms(key: int | Words, number: NDArray[np.integer], lane: int = 0) -> Reals:
    """Numbers in [0, 1), one for each (key, number); another lane is another, independent one."""
    keys = np.broadcast_to(np.asarray(key, np.uint64), number.shape)
    drawn = np.empty(len(number), np.float64)
    for begin in range(0, len(number), _CHUNK):
        part = slice(begin, begin + _CHUNK)
        drawn[part] = _unit(keys[part], number[part].astype(np.uint64), lane)
    return drawn


def exponentials(key: int | Words, number: NDArray[np.integer], lane: int = 0) -> Reals:
    """Of mean 1."""
    return -np.log1p(-uniforms(key, number, lane))


def normals(key: int | Words, number: NDArray[np.integer], lane: int = 0) -> Reals:
    """Of mean 0 and deviation 1 (G. E. P. Box and M. E. Muller, 1958); takes lanes 2 * lane and 2 * lane + 1."""
    radius = np.sqrt(2 * exponentials(key, number, 2 * lane))
    drawn: Reals = radius * np.cos(2 * np.pi * uniforms(key, number, 2 * lane + 1))
    return drawn


def lognormals(key: int | Words, number: NDArray[np.integer], p99_over_p50: float, lane: int = 0) -> Reals:
    """Of median 1 and the given 99th percentile (at least 1)."""
    if p99_over_p50 <= 1:
        return np.ones(len(number))
    drawn: Reals = np.exp(np.log(p99_over_p50) / Z99 * normals(key, number, lane))
    return drawn


def _unit(key: Words, number: Words, lane: int) -> Reals:
    zero = np.zeros_like(number)
    w0, w1, _, _ = philox((number & _LOW, number >> _32, zero + np.uint64(lane), zero), (key & _LOW, key >> _32))
    return ((w0 << np.uint64(21)) ^ (w1 >> np.uint64(11))).astype(np.float64) * 2.0**-53
