"""Decompresses every file in a folder with Python's own modules, as far as it goes.

For FILE, FILE.out has the bytes that come out before an error, and a line on stdout says how it
ended and whether the module reads the whole file: `FILE ok|damaged|truncated|trailing yes|no`.
"""

import bz2
import gzip
import lzma
import os
import sys
import zlib


class Gzip:
    """zlib has another name for what it did not use, and no `needs_input`."""

    def __init__(self):
        self.decoder = zlib.decompressobj(31)

    def decompress(self, data, max_length):
        return self.decoder.decompress(self.decoder.unconsumed_tail + data, max(max_length, 0))

    eof = property(lambda self: self.decoder.eof)
    unused_data = property(lambda self: self.decoder.unused_data)


CODECS = {
    "gzip": (b"\x1f\x8b", Gzip, gzip.decompress, 1),
    "bzip2": (tuple(b"BZh%d" % level for level in range(1, 10)), bz2.BZ2Decompressor, bz2.decompress, 1),
    "xz": (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ), lzma.decompress, 4),
}
ERRORS = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def member(new, data):
    """All that one member gives, what follows it, and how it ended."""
    decoder, out, at = new(), bytearray(), 0
    step = 64
    while at < len(data):
        try:
            piece = decoder.decompress(data[at : at + step], -1)
        except ERRORS:
            # Once more up to here, then byte by byte, and the last of them for single bytes.
            decoder = new()
            out = bytearray(decoder.decompress(data[:at], -1) if at else b"")
            if step > 1:
                step = 1
                continue
            try:
                more = data[at : at + 1]
                while True:
                    piece = decoder.decompress(more, 1)
                    out += piece
                    more = b""
                    if not piece:
                        break
            except ERRORS:
                pass
            return out, b"", "damaged"
        out += piece
        at += step
        if decoder.eof:
            return out, decoder.unused_data + data[at:], "ok"
    return out, b"", "truncated"


def stream(codec, data):
    magic, new, _, multiple = CODECS[codec]
    out, rest, how = member(new, data)
    while how == "ok" and rest:
        text = rest.lstrip(b"\0")
        if (len(rest) - len(text)) % multiple or text and not text.startswith(magic):
            return out, "trailing"
        if not text:
            break
        more, rest, how = member(new, text)
        out += more
    return out, how


def main(codec, folder):
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        data = open(path, "rb").read()
        out, how = stream(codec, data)
        open(path + ".out", "wb").write(out)
        try:
            is_read = "yes" if CODECS[codec][2](data) == out else "no"
        except ERRORS:
            is_read = "no"
        print(name, how, is_read)


main(*sys.argv[1:])
