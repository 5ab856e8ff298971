"""Answers requests with the statistics of a list. Started by python_worker.lua.
A frame: u32le length, u8 type, u8 flags, u16le n; length bytes, MessagePack."""
import io
import os
import socket
import statistics
import struct

REQUEST, REPLY, FAILED = 1, 2, 2  # two types, and a flag of the second
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
BYTES = 0xC4, 0xC5, 0xC6
NUMBERS = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq"))
SIZES = dict(zip([0xC4, 0xC5, 0xC6, *range(0xD9, 0xE0)], "BHIBHIHIHI"))


def pack(value):
    if isinstance(value, float):
        return struct.pack(">Bd", 0xCB, value)
    if isinstance(value, int):
        return struct.pack(">Bq", 0xD3, value)
    if isinstance(value, str):
        return struct.pack(">BI", 0xDB, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return struct.pack(">BI", 0xDD, len(value)) + b"".join(map(pack, value))
    return struct.pack(">BI", 0xDF, len(value)) + b"".join(
        pack(key) + pack(value[key]) for key in value)


def unpack(data):
    def read(kind):
        return struct.unpack(">" + kind, data.read(struct.calcsize(kind)))[0]
    tag = read("B")
    if tag < 0x80 or tag >= 0xE0:
        return tag if tag < 0x80 else tag - 256
    if tag in CONSTANTS:
        return CONSTANTS[tag]
    if tag in NUMBERS:
        return read(NUMBERS[tag])
    short = tag & (31 if tag >= 0xA0 else 15)
    size = read(SIZES[tag]) if tag in SIZES else short
    if 0x90 <= tag < 0xA0 or tag in (0xDC, 0xDD):
        return [unpack(data) for _ in range(size)]
    if tag < 0x90 or tag in (0xDE, 0xDF):
        return {unpack(data): unpack(data) for _ in range(size)}
    return data.read(size) if tag in BYTES else data.read(size).decode()


end = socket.socket(fileno=int(os.environ["ORRERY_CHANNEL_FD"]))
channel = end.makefile("rwb")
while header := channel.read(8):
    length, kind, flags, _ = struct.unpack("<IBBH", header)
    payload = channel.read(length)
    if kind != REQUEST:
        continue
    try:
        values, flags = unpack(io.BytesIO(payload[4:])), 0
        reply = [statistics.mean(values), statistics.median(values)]
    except statistics.StatisticsError as error:
        reply, flags = {"message": str(error)}, FAILED
    body = payload[:4] + pack(reply)
    channel.write(struct.pack("<IBBH", len(body), REPLY, flags, 0) + body)
    channel.flush()
