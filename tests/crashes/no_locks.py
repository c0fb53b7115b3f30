"""A file system that has no locks, in memory: `flock` says `ENOLCK`, as on some network mounts.

It speaks the kernel's FUSE protocol by itself, as far as a store needs it, so that no package is
needed for it. Run as `python no_locks.py FOLDER`, it mounts itself there, prints a line, and ends
when it is unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

IN, OUT = struct.Struct("<IIQQIIII"), struct.Struct("<IiQ")
ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
SETATTR = struct.Struct("<IIQQQQQQIIIIIIII")
MOST = 1 << 17
FLOCK_LOCKS, POSIX_LOCKS, BIG_WRITES = 1 << 10, 1 << 1, 1 << 5


@dataclass(eq=False)
class Node:
    number: int
    mode: int
    data: bytearray = field(default_factory=bytearray)
    children: dict[bytes, Node] = field(default_factory=dict)
    modified: int = field(default_factory=time.time_ns)

    def attributes(self) -> bytes:
        seconds, rest = divmod(self.modified, 10**9)
        size = len(self.data)
        times = (seconds, seconds, seconds, rest, rest, rest)
        return ATTRIBUTES.pack(
            self.number, size, -(-size // 512), *times, self.mode, 1, 0, 0, 0, 4096, 0
        )

    def entry(self) -> bytes:
        # Nothing is remembered by the kernel.
        return struct.pack("<QQQQII", self.number, 0, 0, 0, 0, 0) + self.attributes()


class NoLocks:
    def __init__(self) -> None:
        self.nodes = {1: Node(1, stat.S_IFDIR | 0o777)}

    def new(self, parent: Node, name: bytes, mode: int) -> Node:
        if name in parent.children:
            raise FileExistsError(errno.EEXIST, "")
        node = Node(max(self.nodes) + 1, mode)
        self.nodes[node.number] = parent.children[name] = node
        parent.modified = time.time_ns()
        return node

    def answer(self, opcode: int, node: Node, body: bytes) -> bytes:
        method: Callable[[Node, bytes], bytes] | None = getattr(self, f"op_{opcode}", None)
        if method is None:
            raise OSError(errno.ENOSYS, "")
        return method(node, body)

    def op_1(self, node: Node, body: bytes) -> bytes:  # LOOKUP
        return self._child(node, body[:-1]).entry()

    def _child(self, node: Node, name: bytes) -> Node:
        if name not in node.children:
            raise FileNotFoundError(errno.ENOENT, "")
        return node.children[name]

    def op_3(self, node: Node, body: bytes) -> bytes:  # GETATTR
        return struct.pack("<QII", 0, 0, 0) + node.attributes()

    def op_4(self, node: Node, body: bytes) -> bytes:  # SETATTR
        valid, _, _, size, _, _, modified, _, _, rest, _, mode, *_ = SETATTR.unpack(body[:88])
        if valid & 1:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        if valid & 8:
            node.data = node.data[:size].ljust(size, b"\0")
        if valid & 0x100:
            node.modified = time.time_ns()
        elif valid & 0x20:
            node.modified = modified * 10**9 + rest
        return self.op_3(node, b"")

    def op_9(self, node: Node, body: bytes) -> bytes:  # MKDIR
        mode, umask = struct.unpack("<II", body[:8])
        return self.new(node, body[8:-1], stat.S_IFDIR | mode & ~umask & 0o7777).entry()

    def op_10(self, node: Node, body: bytes) -> bytes:  # UNLINK
        self._child(node, body[:-1])
        del node.children[body[:-1]]
        node.modified = time.time_ns()
        return b""

    def op_11(self, node: Node, body: bytes) -> bytes:  # RMDIR
        if self._child(node, body[:-1]).children:
            raise OSError(errno.ENOTEMPTY, "")
        return self.op_10(node, body)

    def _rename(self, node: Node, target: int, names: bytes) -> bytes:
        old, new, _ = names.split(b"\0")
        moved = self._child(node, old)
        del node.children[old]
        self.nodes[target].children[new] = moved
        node.modified = self.nodes[target].modified = time.time_ns()
        return b""

    def op_12(self, node: Node, body: bytes) -> bytes:  # RENAME
        return self._rename(node, struct.unpack("<Q", body[:8])[0], body[8:])

    def op_45(self, node: Node, body: bytes) -> bytes:  # RENAME2
        return self._rename(node, struct.unpack("<Q", body[:8])[0], body[16:])

    def op_14(self, node: Node, body: bytes) -> bytes:  # OPEN
        if struct.unpack("<I", body[:4])[0] & os.O_TRUNC:
            node.data.clear()
        return struct.pack("<QII", 0, 1, 0)  # read without the kernel's memory of it

    op_27 = op_14  # OPENDIR

    def op_35(self, node: Node, body: bytes) -> bytes:  # CREATE
        _, mode, umask, _ = struct.unpack("<IIII", body[:16])
        made = self.new(node, body[16:-1], stat.S_IFREG | mode & ~umask & 0o7777)
        return made.entry() + struct.pack("<QII", 0, 1, 0)

    def op_15(self, node: Node, body: bytes) -> bytes:  # READ
        _, offset, size = struct.unpack("<QQI", body[:20])
        return bytes(node.data[offset : offset + size])

    def op_16(self, node: Node, body: bytes) -> bytes:  # WRITE
        _, offset, size = struct.unpack("<QQI", body[:20])
        node.data.extend(b"\0" * (offset - len(node.data)))
        node.data[offset : offset + size] = body[40 : 40 + size]
        node.modified = time.time_ns()
        return struct.pack("<II", size, 0)

    def op_17(self, node: Node, body: bytes) -> bytes:  # STATFS
        return struct.pack(
            "<QQQQQIIII", 1 << 20, 1 << 19, 1 << 19, 9999, 9999, 4096, 255, 4096, 0
        ) + (b"\0" * 24)

    def op_28(self, node: Node, body: bytes) -> bytes:  # READDIR
        _, offset, size = struct.unpack("<QQI", body[:20])
        listed = b""
        for place, (name, child) in enumerate([*node.children.items()][offset:], offset + 1):
            kind = child.mode >> 12
            entry = struct.pack("<QQII", child.number, place, len(name), kind) + name
            entry = entry.ljust(-(-len(entry) // 8) * 8, b"\0")
            if len(listed) + len(entry) > size:
                break
            listed += entry
        return listed

    def _nothing(self, node: Node, body: bytes) -> bytes:
        return b""

    # RELEASE, FSYNC, FLUSH, RELEASEDIR, FSYNCDIR, ACCESS
    op_18 = op_20 = op_25 = op_29 = op_30 = op_34 = _nothing

    def _no_locks(self, node: Node, body: bytes) -> bytes:
        raise OSError(errno.ENOLCK, "")

    op_31 = op_32 = op_33 = _no_locks  # GETLK, SETLK, SETLKW

    def serve(self, device: int) -> None:
        while True:
            try:
                request = os.read(device, MOST + (1 << 16))
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return  # unmounted
            _, opcode, unique, number, *_ = IN.unpack(request[:40])
            if opcode in (2, 36, 42):  # FORGET, INTERRUPT, BATCH_FORGET: nobody waits
                continue
            if opcode == 26:  # INIT
                flags = FLOCK_LOCKS | POSIX_LOCKS | BIG_WRITES
                sizes = struct.pack("<HHIIHHI", 8, 8, MOST, 1, 0, 0, 0)
                body, failed = struct.pack("<IIII", 7, 31, 0, flags) + sizes + b"\0" * 28, 0
            else:
                try:
                    body, failed = self.answer(opcode, self.nodes[number], request[40:]), 0
                except OSError as error:
                    body, failed = b"", -(error.errno or errno.EIO)
            os.write(device, OUT.pack(16 + len(body), failed, unique) + body)


def main(folder: str) -> None:
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"no-locks", folder.encode(), b"fuse", 6, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    print("mounted", flush=True)
    NoLocks().serve(device)


if __name__ == "__main__":
    main(sys.argv[1])
