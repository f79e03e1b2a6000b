"""Aes: AES-256 in CBC mode with PKCS5 padding, as event push uses it. The standard library has none.

Slow and open to timing attacks: right for a simulator, wrong for anything else.
"""

from __future__ import annotations

BLOCK = 16
_KEY_BYTES = 32
_ROUNDS = 14


def encrypt(key: bytes, plain: bytes) -> bytes:
    """The IV is the first half of the key."""
    schedule = _schedule(key)
    pad = BLOCK - len(plain) % BLOCK
    padded, before, out = plain + bytes([pad]) * pad, key[:BLOCK], b""
    for at in range(0, len(padded), BLOCK):
        before = _encrypt_block(schedule, _xor(padded[at : at + BLOCK], before))
        out += before
    return out


def decrypt(key: bytes, cipher: bytes) -> bytes:
    """ValueError where the bytes are no such text under this key."""
    if not cipher or len(cipher) % BLOCK:
        raise ValueError(f"{len(cipher)} bytes are no whole number of {BLOCK}-byte blocks")
    schedule, before, out = _schedule(key), key[:BLOCK], b""
    for at in range(0, len(cipher), BLOCK):
        block = cipher[at : at + BLOCK]
        out += _xor(_decrypt_block(schedule, block), before)
        before = block
    pad = out[-1]
    if not 1 <= pad <= BLOCK or out[-pad:] != bytes([pad]) * pad:
        raise ValueError("the padding is wrong: another key, or no AES at all")
    return out[:-pad]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def _times(a: int, b: int) -> int:
    """The product in AES's field of 256."""
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _substitutions() -> bytes:
    """The S-box: each value's inverse in the field, spread. 3 runs through every value but 0, its inverse beside it."""
    powers = [1]
    while len(powers) < 255:
        powers.append(_times(powers[-1], 3))
    inverses = {0: 0, **{power: powers[-at % 255] for at, power in enumerate(powers)}}
    doubled = [inverses[value] * 0x101 for value in range(256)]
    return bytes((each ^ each >> 4 ^ each >> 5 ^ each >> 6 ^ each >> 7) & 0xFF ^ 0x63 for each in doubled)


_SBOX = _substitutions()
_UNSBOX = bytes(_SBOX.index(value) for value in range(256))
_SHIFTED = tuple((at + 4 * (at % 4)) % BLOCK for at in range(BLOCK))
_UNSHIFTED = tuple((at - 4 * (at % 4)) % BLOCK for at in range(BLOCK))
_BY = {factor: bytes(_times(value, factor) for value in range(256)) for factor in (1, 2, 3, 9, 11, 13, 14)}


def _schedule(key: bytes) -> list[bytes]:
    """The round keys."""
    if len(key) != _KEY_BYTES:
        raise ValueError(f"an AES-256 key has {_KEY_BYTES} bytes, this one {len(key)}")
    words = [key[at : at + 4] for at in range(0, _KEY_BYTES, 4)]
    constant = 1
    while len(words) < 4 * (_ROUNDS + 1):
        word = words[-1]
        if len(words) % 8 == 0:
            word = _xor((word[1:] + word[:1]).translate(_SBOX), bytes([constant, 0, 0, 0]))
            constant = _times(constant, 2)
        elif len(words) % 8 == 4:
            word = word.translate(_SBOX)
        words.append(_xor(words[-8], word))
    return [b"".join(words[at : at + 4]) for at in range(0, len(words), 4)]


def _mix(state: bytes, factors: tuple[int, int, int, int]) -> bytes:
    tables = [_BY[factor] for factor in factors]
    return bytes(
        tables[0][state[column + row]]
        ^ tables[1][state[column + (row + 1) % 4]]
        ^ tables[2][state[column + (row + 2) % 4]]
        ^ tables[3][state[column + (row + 3) % 4]]
        for column in range(0, BLOCK, 4)
        for row in range(4)
    )


def _encrypt_block(schedule: list[bytes], block: bytes) -> bytes:
    state = _xor(block, schedule[0])
    for number in range(1, _ROUNDS + 1):
        state = state.translate(_SBOX)
        state = bytes(state[at] for at in _SHIFTED)
        if number < _ROUNDS:
            state = _mix(state, (2, 3, 1, 1))
        state = _xor(state, schedule[number])
    return state


def _decrypt_block(schedule: list[bytes], block: bytes) -> bytes:
    state = block
    for number in range(_ROUNDS, 0, -1):
        state = _xor(state, schedule[number])
        if number < _ROUNDS:
            state = _mix(state, (14, 11, 13, 9))
        state = bytes(state[at] for at in _UNSHIFTED)
        state = state.translate(_UNSBOX)
    return _xor(state, schedule[0])
