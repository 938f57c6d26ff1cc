#!/usr/bin/env python3
"""Writes lines that were sound events and were then damaged in many ways, the same ones each time:
what both implementations are compared on.

  mutate.py SEED COUNT < flights-sample.ndjson
"""

import random
import sys

PIECES = [
    b"", b" ", b"\t", b"\r", b"0", b"-", b"-0", b"00", b"1", b"9", b"2400", b"2401", b"1260", b"59", b"60",
    b"99999999999999999999999", b"1.0", b"1e3", b".5", b"null", b"true", b"nul", b"NaN", b"Infinity",
    b'"', b"\\", b"\\u0041", b"\\ud83d\\ude00", b"\\ud800", b"\\x", b"\\u12g4", b"\x00", b"\x1f", b"\x7f",
    b"\xff", b"\xc3\xa9", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x9b\xab", b"\xef\xbb\xbf", b"[", b"]", b"{", b"}",
    b",", b":", b"[]", b"{}", b"[1,[2]]", b'{"a":{"b":[]}}', b'"EWR"', b'"HNL"', b'"SJU"', b'"PHX"', b'"AA"',
    b'"N14228"', b'"n14228"', b'"year":2012,', b'"note":"x",', b"2013", b"2007", b"2025", b"2026", b"29", b"31",
]


def mutate(line, chance):
    line = bytearray(line)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        kind, at = chance.randrange(6), chance.randrange(len(line) + 1)
        if kind == 0:
            line[at:at] = chance.choice(PIECES)
        elif kind == 1:
            line[at : at + chance.randrange(1, 12)] = chance.choice(PIECES)
        elif kind == 2:
            line[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 3:
            del line[at:]
        else:
            # A value for a value, which leaves the line sound more often.
            colon = line.find(b":", at)
            comma = line.find(b",", colon)
            if 0 < colon < comma:
                line[colon + 1 : comma] = chance.choice(PIECES)
    return bytes(line).replace(b"\n", b" ")


def main():
    chance = random.Random(int(sys.argv[1]))
    lines = [line.rstrip(b"\n") for line in sys.stdin.buffer]
    for _ in range(int(sys.argv[2])):
        sys.stdout.buffer.write(mutate(chance.choice(lines), chance) + b"\n")


if __name__ == "__main__":
    main()
