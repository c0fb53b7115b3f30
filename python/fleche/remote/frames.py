"""Frames: pickled messages on a pair of byte streams (`docs/design.md` has every byte).

A plain frame is a length of four bytes and a pickle. Two ends that both know it (`PROTOCOL`) also
use the long frame: large buffers, such as arrays, travel beside the pickle, are never copied into
it, and have lengths of eight bytes.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

Piece: TypeAlias = bytes | bytearray | memoryview

# The version of what two of our ends can do beyond the reference; told in `info`.
PROTOCOL = 1

# In place of a plain frame's length: a long frame.
LONG = 0xFFFFFFFF
_LENGTH = struct.Struct(">I")
_LONG_HEADER = struct.Struct(">II")
_PART = struct.Struct(">Q")

# From this size on a buffer travels beside the pickle, and parts are received without a copy.
LARGE = 1 << 16
# What one read asks for: more than most frames take.
_CHUNK = 1 << 16
_MOST_PARTS = 1 << 24
# A bound on what the system takes at once.
_MOST_PIECES = 512


class FrameError(Exception):
    """A whole frame came, and it cannot be used; the stream can."""


class FrameTooLarge(ValueError):
    """A message does not fit into a frame."""


class Source(Protocol):
    """What bytes are read from: `io.RawIOBase` and `io.BufferedIOBase`."""

    def read(self, size: int, /) -> bytes | None: ...


class Frame:
    """A message that was received and is not unpickled yet: that may run any code."""

    __slots__ = ("buffers", "pickled")

    def __init__(self, pickled: Any, buffers: Sequence[Any] = ()) -> None:
        self.pickled = pickled
        self.buffers = buffers

    def message(self) -> Any:
        """The message; to be asked for once, as the frame's memory is given up for it.

        Raises:
            Exception: any, if it cannot be unpickled here.
        """
        pickled, buffers = self.pickled, self.buffers
        self.pickled, self.buffers = b"", ()
        return pickle.loads(pickled, buffers=buffers)


class Packed:
    """A message as it will be sent.

    Its pieces may be memory of the values themselves: it holds what they hold when it is sent.
    """

    __slots__ = ("buffers", "pieces")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.buffers: list[memoryview] = []

    def write(self, piece: Piece | pickle.PickleBuffer) -> None:
        # The pickler's file. Large `bytes` and arrays come as they are, without a copy.
        self.pieces.append(piece.raw() if isinstance(piece, pickle.PickleBuffer) else piece)

    def keep_apart(self, buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of the pickle; false for one that is in it just as well."""
        view = buffer.raw()
        if view.nbytes < LARGE:
            return True
        self.buffers.append(view)
        return False

    def nbytes(self) -> int:
        """Its size, in bytes, without headers."""
        return sum(map(_size, self.pieces)) + sum(view.nbytes for view in self.buffers)

    def frame(self, long_frames: bool) -> Iterator[Piece]:
        """The bytes to send.

        Args:
            long_frames: whether the other end knows long frames.

        Raises:
            FrameTooLarge: if it does not, and the message has 4 GiB or more.
        """
        pickled = sum(map(_size, self.pieces))
        if not self.buffers and pickled < LONG:
            yield _LENGTH.pack(pickled)
        elif long_frames:
            sizes = (pickled, *(view.nbytes for view in self.buffers))
            yield _LONG_HEADER.pack(LONG, len(sizes)) + b"".join(map(_PART.pack, sizes))
        else:
            raise FrameTooLarge(
                f"a message of {self.nbytes():,} bytes does not fit into a frame, which holds less "
                f"than 4 GiB; larger ones take a fleche on both ends that has long frames "
                f"(info()['protocol'])"
            )
        yield from self.pieces
        yield from self.buffers


def _size(piece: Piece) -> int:
    return piece.nbytes if isinstance(piece, memoryview) else len(piece)


def pack(message: Any, *, plain: bool = False, apart: bool = True) -> Packed:
    """Pickle a message.

    Args:
        message: the message.
        plain: it holds nothing but what `pickle` takes by its public name, which is faster.
        apart: whether large buffers may travel beside the pickle.

    Raises:
        Exception: any, if it cannot be pickled.
    """
    packed = Packed()
    if plain:
        packed.write(pickle.dumps(message, 5))
        return packed
    import cloudpickle

    callback = packed.keep_apart if apart else None
    cloudpickle.Pickler(packed, protocol=5, buffer_callback=callback).dump(message)
    return packed


class Reader:
    """Reads frames from a stream."""

    def __init__(self, stream: Source) -> None:
        self._stream = stream
        self._into = getattr(stream, "readinto", None)
        self._read = getattr(stream, "read1", stream.read)
        # What was read, and how much of it was used.
        self._held = b""
        self._used = 0

    def frame(self, *, long_frames: bool = True) -> Frame:
        """The next frame.

        Args:
            long_frames: whether the other end may send them.

        Raises:
            EOFError: if the stream ends.
            FrameError: if the frame is too large for the memory here; the next one can be read.
        """
        (size,) = _LENGTH.unpack(self._exactly(_LENGTH.size, "before a frame"))
        if size != LONG or not long_frames:
            return Frame(self._part(size))
        (count,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if not 0 < count <= _MOST_PARTS:
            raise EOFError(f"what came is no frame: one of {count} parts")
        sizes = [_PART.unpack(self._exactly(_PART.size))[0] for _ in range(count)]
        parts = self._parts(sizes)
        return Frame(parts[0], parts[1:])

    def first_frame(self, most_noise: int = 1 << 16) -> tuple[bytes, Frame]:
        """The first frame, and what came before it: shells print greetings.

        A frame is taken to begin where a small length is followed by the beginning of a pickle.

        Args:
            most_noise: how many bytes may come before it.

        Raises:
            EOFError: if the stream ends; its argument is the noise.
        """
        while True:
            for start in range(len(self._held) - 6):
                head = self._held[start : start + 7]
                # Two zeros, a length of two bytes, PROTO 2 to 5: no text has that.
                if head[:2] == b"\0\0" and head[4] == 0x80 and 2 <= head[5] <= 5:
                    noise = self._held[:start]
                    self._used = start
                    return noise, self.frame()
            more = b"" if len(self._held) > most_noise else self._read(_CHUNK)
            if not more:
                raise EOFError(self._held)
            self._held += more

    def _parts(self, sizes: list[int]) -> list[Any]:
        parts: list[Any] = []
        for done, size in enumerate(sizes):
            try:
                parts.append(self._part(size, skip=False))
            except MemoryError as error:
                del parts
                self._skip(sum(sizes[done:]))
                raise FrameError(f"a frame of {sum(sizes):,} bytes is too large: {error}") from None
        return parts

    def _part(self, size: int, *, skip: bool = True) -> Any:
        if size < LARGE:
            return self._exactly(size)
        try:
            # Zeroed when first written to, which `bytearray` does once more before that.
            memory = mmap.mmap(-1, size)
        except (OSError, OverflowError, MemoryError) as error:
            if not skip:
                raise MemoryError(str(error)) from None
            self._skip(size)
            raise FrameError(f"a frame of {size:,} bytes is too large: {error}") from None
        with memoryview(memory) as view:
            self._fill(view)
        return memory

    def _exactly(self, size: int, where: str = "in the middle of a frame") -> bytes:
        end = self._used + size
        while len(self._held) < end:
            more = self._read(max(_CHUNK, end - len(self._held)))
            if not more:
                missing = end - len(self._held)
                if self._used < len(self._held):
                    where = "in the middle of a frame"
                raise EOFError(f"it ended {where}, {missing} bytes short")
            self._held = self._held[self._used :] + more
            self._used, end = 0, size
        piece = self._held[self._used : end]
        self._used = end
        return piece

    def _fill(self, view: memoryview) -> None:
        held = min(len(self._held) - self._used, view.nbytes)
        view[:held] = self._held[self._used : self._used + held]
        self._used += held
        done = held
        while done < view.nbytes:
            if self._into is None:
                piece = self._read(view.nbytes - done)
                count = len(piece) if piece else 0
                view[done : done + count] = piece or b""
            else:
                count = self._into(view[done:])
            if not count:
                short = view.nbytes - done
                raise EOFError(f"it ended in the middle of a frame, {short} bytes short")
            done += count

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self._exactly(min(size, _CHUNK)))


class Writer:
    """Writes frames to a stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # Not past the buffer of a stream that has one.
        self._descriptor = stream.fileno() if isinstance(stream, io.RawIOBase) else None

    def write(self, packed: Packed, *, long_frames: bool) -> None:
        """Send a message.

        Args:
            packed: the message.
            long_frames: whether the other end knows them.

        Raises:
            FrameTooLarge: nothing was sent.
            OSError: if the other end is gone.
        """
        pieces = list(packed.frame(long_frames))
        if self._descriptor is None:
            for piece in pieces:
                self._stream.write(piece)
            self._stream.flush()
        else:
            _write_all(self._descriptor, pieces)


def _write_all(descriptor: int, pieces: list[Piece]) -> None:
    views = [memoryview(piece).cast("B") for piece in pieces if _size(piece)]
    while views:
        if sys.platform == "win32":  # One at a time.
            written = os.write(descriptor, views[0])
        else:
            written = os.writev(descriptor, views[:_MOST_PIECES])
        while views and written >= views[0].nbytes:
            written -= views.pop(0).nbytes
        if written:
            views[0] = views[0][written:]
