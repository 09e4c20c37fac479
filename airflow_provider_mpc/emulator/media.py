# SPDX-License-Identifier: Apache-2.0
"""Media files: what MPC would tell of one, and short ones made for tests and demos. Needs PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

INSTALL_HINT = "PyAV is missing; pip install 'airflow-provider-mpc[emulator]' (in a checkout: make clean, and again)"
MICROSECONDS = 1_000_000
AUDIO_RATE = 48_000
# Names as in the examples of MPC's documentation; others are written in capitals.
CODEC_NAMES = {"h264": "H264", "hevc": "H265", "mpeg4": "MPEG4", "aac": "AAC", "mp3": "MP3"}
# SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG).
HDR_TRANSFERS = frozenset({16, 18})


class MediaError(Exception):
    """
    Media that cannot be worked on.

    :param code: the MPC code a job fails with.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def pyav() -> ModuleType:
    """
    Return PyAV.

    :raises RuntimeError: with a hint how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise RuntimeError(INSTALL_HINT) from error
    return av


@dataclass(frozen=True, slots=True)
class Picture:
    """The video stream of a source; the rotation is in degrees, counter-clockwise, for display."""

    width: int
    height: int
    rate: Fraction
    rotation: int
    bits_per_second: int

    @property
    def display_size(self) -> tuple[int, int]:
        """Return width and height as they are seen."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Source:
    """
    What has to be known of a source before it is cut.

    :param duration: in seconds.
    :param zero: the time stamp of its beginning, in seconds.
    :param channels: 0 without audio.
    """

    path: Path
    duration: float
    zero: float
    picture: Picture | None
    channels: int


def examine(path: Path) -> Source:
    """
    Look at a source.

    :raises MediaError: if it is missing, or no media.
    """
    av = pyav()
    if not path.is_file():
        raise MediaError("MPC.10053", "The input file does not exist.")
    try:
        with av.open(str(path)) as container:
            picture = _picture(container)
            audio = container.streams.audio[0] if container.streams.audio else None
            duration = _duration(container)
            zero = (container.start_time or 0) / MICROSECONDS
    except (av.FFmpegError, ValueError) as error:
        raise MediaError("MPC.10154", f"The input file cannot be opened: {_reason(error)}") from error
    if (picture is None and audio is None) or duration <= 0:
        raise MediaError("MPC.10154", "The input file cannot be opened: it has neither video nor audio.")
    return Source(path, duration, zero, picture, audio.codec_context.channels if audio else 0)


def describe(path: Path) -> dict[str, Any]:
    """Return what MPC's ``editing_output`` says of a file, read from the file."""
    with pyav().open(str(path)) as container:
        seconds, size = _duration(container), path.stat().st_size
        described = {
            "duration": int(seconds),
            "duration_ms": round(seconds * 1000),
            "format": "MP4",
            "size": size // 1024,
            "size_byte": size,
        }
        if container.streams.video:
            described["video_info"] = _video_info(container)
        audio_info = [
            {
                "codec": _codec_name(stream.codec_context.name),
                "sample": stream.codec_context.sample_rate,
                "channels": stream.codec_context.channels,
                **_rates_and_times(stream, seconds),
            }
            for stream in container.streams.audio
        ]
        if audio_info:
            described["audio_info"] = audio_info
    return described


def make_sample(
    path: str | PathLike[str],
    seconds: float = 6.0,
    size: tuple[int, int] = (640, 360),
    audio: bool = True,
    *,
    video: bool = True,
    rate: int = 25,
    tone: int = 440,
    rotation: int = 0,
) -> Path:
    """
    Make a short MP4 file, a test pattern with a tone, and return its path; its folder is made if need be.

    :param size: width and height, both even.
    :param rate: frames a second.
    :param tone: in Hz.
    :param rotation: degrees counter-clockwise by which players turn the picture.
    """
    av = pyav()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        tracks = []
        if video:
            stream = add_video(container, size, Fraction(rate), rotation)
            source = (
                "testsrc2",
                f"size={size[0]}x{size[1]}:rate={rate}:duration={seconds}",
                "format",
                "yuv420p",
            )
            tracks.append((stream, _generate(*source)))
        if audio:
            stream = container.add_stream("aac", rate=AUDIO_RATE, layout="stereo")
            source = (
                "sine",
                f"f={tone}:r={AUDIO_RATE}:d={seconds}",
                "aformat",
                "fltp:channel_layouts=stereo",
            )
            tracks.append((stream, _generate(*source)))
        for stream, frames in tracks:
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def add_video(container: OutputContainer, size: tuple[int, int], rate: Fraction, rotation: int) -> VideoStream:
    """Add an H.264 stream to a file that is being made; MPEG-4 part 2 where PyAV has no libx264."""
    if "libx264" in pyav().codecs_available:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
    else:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.bit_rate = int(size[0] * size[1] * rate / 8)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    # The machine is shared with what is being tested.
    stream.codec_context.thread_count = 1
    # Older PyAV cannot write a rotation.
    if rotation and hasattr(stream, "set_display_rotation"):
        stream.set_display_rotation(rotation)
    return stream


def _generate(source: str, arguments: str, shape: str, shape_arguments: str) -> Iterator[Any]:
    """Yield the frames of one of FFmpeg's test sources."""
    av = pyav()
    graph = av.filter.Graph()
    graph.link_nodes(graph.add(source, arguments), graph.add(shape, shape_arguments), _sink(graph, source)).configure()
    while True:
        try:
            yield graph.pull()
        except (av.error.EOFError, av.error.BlockingIOError):
            return


def _sink(graph: Any, source: str) -> Any:
    return graph.add("abuffersink" if source == "sine" else "buffersink")


def _duration(container: InputContainer) -> float:
    if container.duration is not None:
        return container.duration / MICROSECONDS
    known = [float(item.duration * item.time_base) for item in container.streams if item.duration and item.time_base]
    return max(known, default=0.0)


def _first_frame(container: InputContainer) -> av.VideoFrame:
    for frame in container.decode(video=0):
        return frame
    raise MediaError("MPC.10154", "The input file cannot be opened: its video has no frames.")


def _picture(container: InputContainer) -> Picture | None:
    if not container.streams.video:
        return None
    stream = container.streams.video[0]
    frame = _first_frame(container)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    return Picture(frame.width, frame.height, Fraction(rate), round(_rotation(frame)), stream.bit_rate or 0)


def _video_info(container: InputContainer) -> dict[str, Any]:
    stream = container.streams.video[0]
    frame = _first_frame(container)
    return {
        "width": frame.width,
        "height": frame.height,
        "frame_rate": round(stream.average_rate or 0),
        "codec": _codec_name(stream.codec_context.name),
        "dynamic_range": "HDR" if int(stream.codec_context.color_trc) in HDR_TRANSFERS else "SDR",
        "rotate": _rotation(frame),
        **_rates_and_times(stream, _duration(container)),
    }


def _rotation(frame: av.VideoFrame) -> float:
    # Older PyAV does not tell.
    return float(getattr(frame, "rotation", 0.0))


def _rates_and_times(stream: Any, container_seconds: float) -> dict[str, Any]:
    seconds = float(stream.duration * stream.time_base) if stream.duration else container_seconds
    bits_per_second = stream.bit_rate or 0
    return {
        "bitrate": bits_per_second // 1000,
        "bitrate_bps": bits_per_second,
        "duration": str(int(seconds)),
        "duration_ms": str(round(seconds * 1000)),
    }


def _codec_name(name: str) -> str:
    return CODEC_NAMES.get(name, name.upper())


def _reason(error: Exception) -> str:
    # Without the path, which is no business of the caller's.
    return str(getattr(error, "strerror", None) or type(error).__name__)
