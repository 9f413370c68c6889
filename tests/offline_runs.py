"""The log of an offline W&B run."""

import struct

from wandb.proto import wandb_internal_pb2 as records


def offline_run(path):
    """The records of an offline W&B run: a log of 32 KiB blocks whose chunks have a 7-byte header."""
    content, position, record = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        if kind == 0:
            break
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield records.Record.FromString(record)
            record = b""
