# SPDX-License-Identifier: Apache-2.0
"""
Cutting parts out of sources and joining them, exact to the frame.

Everything is decoded and encoded anew. Each output frame shows the source frame nearest to its time, so
sources of any frame rate join; a source without sound or picture gives silence or black.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_mpc.emulator.media import (
    AUDIO_RATE,
    MICROSECONDS,
    MediaError,
    Picture,
    Source,
    add_video,
    examine,
    pyav,
)
from airflow_provider_mpc.emulator.orders import ClipSettings

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.container import InputContainer, OutputContainer
    from av.video.frame import VideoFrame

Progress = Callable[[float], None]
MAX_RATE = Fraction(60)
DOCUMENTED_RATE = Fraction(25)
# A seek lands a little early, so that decoders have settled when the wanted part begins.
SEEK_MARGIN = 1.0
# How pixels are turned by so many degrees counter-clockwise.
TURNS = {
    0: [],
    90: [("transpose", "cclock")],
    180: [("hflip", ""), ("vflip", "")],
    270: [("transpose", "clock")],
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a source, in seconds from its beginning."""

    source: Source
    start: float
    length: float


def part_of(path: Path, start: float | None, end: float | None) -> Part:
    """
    Return the wanted part of a source.

    :param start: ``None``: its beginning; negative: counted from its end.
    :param end: ``None``, or beyond it: its end; negative: counted from its end.
    :raises MediaError: if the source cannot be used, or nothing is left of it.
    """
    source = examine(path)
    first = _from_beginning(0.0 if start is None else start, source.duration)
    last = _from_beginning(source.duration if end is None else end, source.duration)
    if last <= first:
        raise MediaError(
            "MPC.10125",
            f"Nothing lies between {first:g} s and {last:g} s: the input lasts {source.duration:g} s.",
        )
    return Part(source, first, last - first)


def cut_and_join(parts: Sequence[Part], target: Path, settings: ClipSettings, progress: Progress) -> None:
    """
    Write the parts, one after the other, to an MP4 file.

    :param progress: called with the share done, 0 to 1; what it raises ends the work.
    :raises MediaError: if a source cannot be decoded.
    """
    av = pyav()
    try:
        with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            joiner = _Joiner(container, parts, settings, progress)
            for part in parts:
                joiner.add(part)
            joiner.finish()
    except av.FFmpegError as error:
        raise MediaError("MPC.10125", f"The input data cannot be processed: {error.strerror}") from error


def output_size(seen: tuple[int, int], settings: ClipSettings) -> tuple[int, int]:
    """
    Return the output's width and height as they are seen.

    :param seen: those of the reference source.
    """
    width, height = settings.width, settings.height
    if settings.adapt_resolution and seen[0] < seen[1]:
        # Adapted, width stands for the long side.
        width, height = height, width
    if not width and not height:
        width, height = seen
    width = width or round(height * seen[0] / seen[1])
    height = height or round(width * seen[1] / seen[0])
    if not settings.upsample and (width > seen[0] or height > seen[1]):
        width, height = seen
    return _even(width), _even(height)


def _even(length: int) -> int:
    return max(2, length // 2 * 2)


def _nearest(slots: float) -> int:
    """Round half up: Python's own rounding to even would make cuts between two frames uneven."""
    return math.floor(slots + 0.5)


def _from_beginning(seconds: float, duration: float) -> float:
    counted = duration + seconds if seconds < 0 else seconds
    return min(max(counted, 0.0), duration)


def _reference(parts: Sequence[Part], settings: ClipSettings) -> Picture | None:
    """Return the picture the output takes after."""
    pictures = [part.source.picture for part in parts if part.source.picture is not None]
    if settings.reference == "MAX_RESOLUTION":
        return max(pictures, key=lambda picture: picture.width * picture.height, default=None)
    if settings.reference == "MAX_BITRATE":
        return max(pictures, key=lambda picture: picture.bits_per_second, default=None)
    if settings.reference == "NONE" and pictures:
        return replace(pictures[0], rate=DOCUMENTED_RATE)
    return pictures[0] if pictures else None


class _Joiner:
    """Appends parts to one output file."""

    def __init__(
        self, container: OutputContainer, parts: Sequence[Part], settings: ClipSettings, progress: Progress
    ) -> None:
        self._seconds_total = sum(part.length for part in parts)
        self._seconds_done = 0.0
        self._progress = progress
        picture = _reference(parts, settings)
        channels = max(part.source.channels for part in parts)
        self._video = None if picture is None else _VideoTrack(container, picture, settings)
        self._audio = _AudioTrack(container, "mono" if channels == 1 else "stereo") if channels else None

    def add(self, part: Part) -> None:
        """Append a part."""
        end = self._seconds_done + part.length
        tracks: list[_VideoTrack | _AudioTrack] = [track for track in (self._video, self._audio) if track]
        for track in tracks:
            track.begin(part, end)
        self._feed(part, tracks)
        for track in tracks:
            track.end()
        self._seconds_done = end

    def finish(self) -> None:
        """Write what the encoders still hold."""
        for track in (self._video, self._audio):
            if track:
                track.flush()
        self._progress(1.0)

    def _feed(self, part: Part, tracks: Sequence[_VideoTrack | _AudioTrack]) -> None:
        with pyav().open(str(part.source.path)) as container:
            streams = [(track.stream_of(container), track) for track in tracks]
            present = {stream.index: (stream, track) for stream, track in streams if stream is not None}
            for frame, index in _frames(container, [stream for stream, _ in present.values()], part):
                _, track = present[index]
                if track.wants_more:
                    seconds = frame.time - part.source.zero - part.start
                    track.take(frame, seconds)
                    self._report(seconds)
                elif not any(track.wants_more for _, track in present.values()):
                    break

    def _report(self, seconds: float) -> None:
        self._progress(min(max(self._seconds_done + seconds, 0.0) / self._seconds_total, 1.0))


def _frames(container: InputContainer, streams: list[Any], part: Part) -> Iterator[tuple[Any, int]]:
    """Yield (frame, index of its stream) from a little before the part's start on."""
    if part.start > SEEK_MARGIN:
        # A file that cannot seek is read from its beginning.
        with contextlib.suppress(pyav().FFmpegError):
            container.seek(int((part.start - SEEK_MARGIN + part.source.zero) * MICROSECONDS))
    for packet in container.demux(streams):
        frames: Sequence[Any] = packet.decode()
        for frame in frames:
            if frame.pts is not None:
                yield frame, packet.stream.index


class _VideoTrack:
    """The picture: a constant number of frames a second."""

    def __init__(self, container: OutputContainer, picture: Picture, settings: ClipSettings) -> None:
        self._container = container
        self._rate = min(picture.rate, MAX_RATE)
        self._rotation = picture.rotation
        seen = output_size(picture.display_size, settings)
        self._size = seen[::-1] if picture.rotation % 180 else seen
        self._stream = add_video(container, self._size, self._rate, picture.rotation)
        self._written = self._end = self._begin = 0
        self._current: VideoFrame | None = None
        self._fitter: _Fitter | None = None

    def begin(self, part: Part, end: float) -> None:
        """Prepare for a part that ends at a time of the output."""
        self._begin = self._written
        self._end = max(_nearest(end * self._rate), self._written)
        self._current = None
        rotation = part.source.picture.rotation if part.source.picture else self._rotation
        self._fitter = _Fitter(self._size, (rotation - self._rotation) % 360)

    @property
    def wants_more(self) -> bool:
        """Whether the part still lacks frames."""
        return self._written < self._end

    def stream_of(self, container: InputContainer) -> Any:
        """Return the stream this track takes from a source."""
        return container.streams.video[0] if container.streams.video else None

    def take(self, frame: VideoFrame, seconds: float) -> None:
        """Take the next frame; ``seconds`` after the part's start, or before it if negative."""
        if self._current is not None:
            self._show(self._current, until=self._begin + _nearest(seconds * self._rate))
        self._current = frame

    def end(self) -> None:
        """Fill up the part: the last frame stays, and a part without any is black."""
        if self.wants_more:
            self._show(self._current or _black(self._size), until=self._end)

    def flush(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))

    def _show(self, frame: VideoFrame, until: int) -> None:
        until = min(until, self._end)
        if self._written >= until or self._fitter is None:
            return
        fitted = self._fitter.fit(frame)
        while self._written < until:
            fitted.pts = self._written
            fitted.time_base = 1 / self._rate
            self._container.mux(self._stream.encode(fitted))
            self._written += 1


class _Fitter:
    """Turns, scales and pads the frames of one source to the output's size."""

    def __init__(self, size: tuple[int, int], turn: int) -> None:
        width, height = size
        self._steps = [
            *TURNS.get(turn, []),
            ("scale", f"{width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2"),
            ("pad", f"{width}:{height}:-1:-1"),
            ("setsar", "1"),
            ("format", "yuv420p"),
        ]
        self._graph: Any = None
        self._shape: tuple[int, int, str] | None = None

    def fit(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame at the output's size."""
        shape = (frame.width, frame.height, frame.format.name)
        if shape != self._shape:
            self._graph, self._shape = self._make(frame), shape
        self._graph.push(frame)
        fitted: VideoFrame = self._graph.pull()
        # Otherwise the encoder would take over the source's choice of key frames.
        fitted.pict_type = pyav().video.frame.PictureType.NONE
        return fitted

    def _make(self, frame: VideoFrame) -> Any:
        graph = pyav().filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        nodes = [graph.add(name, arguments) for name, arguments in self._steps]
        return _configured(graph.link_nodes(source, *nodes, graph.add("buffersink")))


def _configured(graph: Any) -> Any:
    graph.configure()
    return graph


def _black(size: tuple[int, int]) -> VideoFrame:
    frame: VideoFrame = pyav().VideoFrame(*size, "yuv420p")
    for plane, level in zip(frame.planes, (16, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


class _AudioTrack:
    """The sound: a constant number of samples a second."""

    def __init__(self, container: OutputContainer, layout: str) -> None:
        self._container = container
        self._layout = layout
        self._stream = container.add_stream("aac", rate=AUDIO_RATE, layout=layout)
        self._written = self._end = 0
        self._resampler: Any = None
        self._fifo: Any = None
        self._surplus: int | None = None

    def begin(self, part: Part, end: float) -> None:
        """Prepare for a part that ends at a time of the output."""
        av = pyav()
        self._end = max(round(end * AUDIO_RATE), self._written)
        self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=AUDIO_RATE)
        self._fifo = av.AudioFifo()
        self._surplus = None

    @property
    def wants_more(self) -> bool:
        """Whether the part still lacks samples."""
        return self._written < self._end

    def stream_of(self, container: InputContainer) -> Any:
        """Return the stream this track takes from a source."""
        return container.streams.audio[0] if container.streams.audio else None

    def take(self, frame: AudioFrame, seconds: float) -> None:
        """Take the next frame; ``seconds`` after the part's start, or before it if negative."""
        if self._surplus is None:
            offset = round(seconds * AUDIO_RATE)
            self._surplus = max(-offset, 0)
            self._write_silence(max(offset, 0))
        self._collect(self._resampler.resample(frame))

    def end(self) -> None:
        """Fill up the part with silence."""
        if self._surplus is not None:
            self._collect(self._resampler.resample(None))
        self._write_silence(self._end - self._written)

    def flush(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))

    def _collect(self, frames: Sequence[AudioFrame]) -> None:
        for frame in frames:
            frame.pts = None
            self._fifo.write(frame)
        if self._surplus and self._fifo.samples:
            dropped = min(self._surplus, self._fifo.samples)
            self._fifo.read(dropped)
            self._surplus -= dropped
        wanted = min(self._fifo.samples, self._end - self._written)
        if not self._surplus and wanted:
            self._write(self._fifo.read(wanted))

    def _write_silence(self, samples: int) -> None:
        samples = min(samples, self._end - self._written)
        for start in itertools.takewhile(lambda start: start < samples, itertools.count(0, AUDIO_RATE)):
            self._write(_silence(min(samples - start, AUDIO_RATE), self._layout))

    def _write(self, frame: AudioFrame) -> None:
        frame.pts = self._written
        frame.time_base = Fraction(1, AUDIO_RATE)
        self._written += frame.samples
        self._container.mux(self._stream.encode(frame))


def _silence(samples: int, layout: str | AudioLayout) -> AudioFrame:
    frame: AudioFrame = pyav().AudioFrame(format="fltp", layout=layout, samples=samples)
    frame.sample_rate = AUDIO_RATE
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return frame
