# SPDX-License-Identifier: Apache-2.0
"""Clips that are really cut: exact to the frame, described as they are, and never outside the media root."""

from __future__ import annotations

import math
import threading
import time
from fractions import Fraction

import pytest

from airflow_provider_mpc.emulator import Emulator, EmulatorServer, media
from airflow_provider_mpc.emulator.cutting import output_size
from airflow_provider_mpc.emulator.orders import ClipSettings

av = pytest.importorskip("av")

SIZE = (160, 96)
RATE = 25
# Luma steps far enough apart to survive the encoder.
STEP = 3


@pytest.fixture
def emulator(media_root):
    emulator = Emulator(media_root=media_root, job_seconds=0)
    yield emulator
    emulator.close()


@pytest.fixture
def studio(caller, media_root):
    (media_root / "in").mkdir()
    return Client(caller, media_root)


class Client:
    """Orders clips from sources in the bucket ``in`` to the bucket ``out``."""

    def __init__(self, caller, root):
        self.caller = caller
        self.root = root

    def order(self, *inputs, output=None, **settings):
        """Order a clip; each input is (file, start, end)."""
        order = {
            "inputs": [
                {
                    "input": {"bucket": "in", "object": name},
                    **({} if start is None else {"timeline_start": str(start)}),
                    **({} if end is None else {"timeline_end": str(end)}),
                }
                for name, start, end in inputs
            ],
            "output": output or {"bucket": "out", "object": "clips/clip.mp4"},
            "editing_settings": settings,
        }
        return self.caller.create(order)

    def finish(self, reply):
        """Return the job once it has ended."""
        assert reply.status_code == 200, reply.text
        deadline = time.monotonic() + 120
        while True:
            job = self.caller.job(reply.json()["job_id"])
            if job["status"] not in ("WAITING", "PROCESSING"):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.02)

    def clip(self, *inputs, **settings):
        """Return the path of the clip made and what MPC tells of it."""
        job = self.finish(self.order(*inputs, **settings))
        assert job["status"] == "SUCCEEDED", job
        return self.root / "out" / "clips" / "clip.mp4", job["editing_output"]

    def sample(self, name="a.mp4", seconds=2.0, size=SIZE, audio=True, **options):
        return media.make_sample(self.root / "in" / name, seconds, size, audio, **options)


def make_numbered(path, frames, rate=RATE, size=SIZE, gop=12):
    """Make a video whose frames' brightness tells their number."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = media.add_video(container, size, Fraction(rate), 0)
        stream.codec_context.gop_size = gop
        for number in range(frames):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane, level in zip(frame.planes, (16 + number * STEP, 128, 128), strict=True):
                plane.update(bytes([level]) * plane.buffer_size)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def numbers(path):
    """Return the numbers that the frames of a clip tell by their brightness."""
    with av.open(str(path)) as container:
        return [round((bytes(frame.planes[0])[0] - 16) / STEP) for frame in container.decode(video=0)]


def loudness(path, window=0.25):
    """Return the loudest sample of each window."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=8000)
        samples = []
        for frame in [*container.decode(audio=0), None]:
            for piece in resampler.resample(frame):
                samples += memoryview(bytes(piece.planes[0])).cast("h")[: piece.samples]
    size = int(8000 * window)
    return [max(map(abs, samples[start : start + size])) for start in range(0, len(samples) - size // 2, size)]


def test_a_cut_is_exact_to_the_frame(studio):
    make_numbered(studio.root / "in" / "a.mp4", 70)
    path, told = studio.clip(("a.mp4", 0.4, 1.2))
    assert numbers(path) == list(range(10, 30))
    assert told["duration_ms"] == 800


def test_a_cut_far_into_a_source_is_exact_too(studio):
    make_numbered(studio.root / "in" / "a.mp4", 75)
    path, _ = studio.clip(("a.mp4", 2.2, 2.6))
    assert numbers(path) == list(range(55, 65))


def test_parts_are_joined_in_order(studio):
    make_numbered(studio.root / "in" / "a.mp4", 50)
    path, _ = studio.clip(("a.mp4", 1.2, 1.6), ("a.mp4", 0, 0.2))
    assert numbers(path) == [*range(30, 40), *range(5)]


def test_times_may_be_left_out_or_count_from_the_end(studio):
    make_numbered(studio.root / "in" / "a.mp4", 20)
    assert numbers(studio.clip(("a.mp4", None, None))[0]) == list(range(20))
    assert numbers(studio.clip(("a.mp4", -0.2, None))[0]) == list(range(15, 20))
    assert numbers(studio.clip(("a.mp4", "0.4", "99"))[0]) == list(range(10, 20))


def test_a_faster_source_is_joined_at_the_rate_of_the_first(studio):
    make_numbered(studio.root / "in" / "a.mp4", 10)
    make_numbered(studio.root / "in" / "fast.mp4", 20, rate=50)
    path, told = studio.clip(("a.mp4", None, None), ("fast.mp4", None, None))
    # Each second frame, within one: the nearest of two as near is either.
    shown = numbers(path)
    assert shown[:10] == list(range(10))
    assert all(abs(number - 2 * slot) <= 1 for slot, number in enumerate(shown[10:]))
    assert (len(shown), told["video_info"]["frame_rate"]) == (20, 25)


def test_what_is_told_is_what_the_file_holds(studio):
    studio.sample(seconds=2, size=(160, 96))
    path, told = studio.clip(("a.mp4", 0, 1))
    size = path.stat().st_size
    assert (told["format"], told["size_byte"], told["size"]) == ("MP4", size, size // 1024)
    assert (told["duration"], told["duration_ms"]) == (1, 1000)
    video = told["video_info"]
    with av.open(str(path)) as container:
        assert video["bitrate_bps"] == container.streams.video[0].bit_rate
        assert video["codec"] == {"h264": "H264", "mpeg4": "MPEG4"}[container.streams.video[0].codec_context.name]
    assert (video["width"], video["height"], video["frame_rate"]) == (160, 96, 25)
    assert (video["duration"], video["duration_ms"]) == ("1", "1000")
    assert (video["rotate"], video["dynamic_range"]) == (0.0, "SDR")
    (audio,) = told["audio_info"]
    assert (audio["codec"], audio["sample"], audio["channels"], audio["duration_ms"]) == (
        "AAC",
        48000,
        2,
        "1000",
    )


def test_sound_is_cut_with_the_picture_and_missing_sound_is_silence(studio):
    studio.sample("loud.mp4", 1)
    studio.sample("mute.mp4", 1, audio=False)
    path, told = studio.clip(("loud.mp4", 0.25, 0.75), ("mute.mp4", 0, 0.5), ("loud.mp4", 0, 0.5))
    heard = [level > 1000 for level in loudness(path)]
    assert heard == [True, True, False, False, True, True]
    assert told["duration_ms"] == pytest.approx(1500, abs=45)


def test_a_source_without_sound_gives_a_clip_without(studio):
    studio.sample(audio=False)
    assert "audio_info" not in studio.clip(("a.mp4", 0, 0.5))[1]


def test_a_source_without_picture_gives_a_clip_without(studio):
    studio.sample(video=False)
    told = studio.clip(("a.mp4", 0.5, 1.5))[1]
    assert "video_info" not in told
    assert told["duration_ms"] == 1000


def test_sound_alone_is_black_between_pictures(studio):
    make_numbered(studio.root / "in" / "a.mp4", 20)
    studio.sample("b.mp4", 1, video=False)
    path, _ = studio.clip(("a.mp4", 0.4, 0.8), ("b.mp4", 0, 0.2))
    assert numbers(path) == [*range(10, 20), *[0] * 5]


def test_sources_of_other_sizes_are_fitted_to_the_first(studio):
    studio.sample("wide.mp4", 0.4)
    studio.sample("tall.mp4", 0.4, size=(96, 200))
    video = studio.clip(("wide.mp4", None, None), ("tall.mp4", None, None))[1]["video_info"]
    assert (video["width"], video["height"]) == SIZE
    video = studio.clip(("wide.mp4", None, None), ("tall.mp4", None, None), reference="MAX_RESOLUTION")[1]["video_info"]
    assert (video["width"], video["height"]) == (96, 200)


def test_a_rotation_is_kept_and_told(studio):
    if not hasattr(av.video.stream.VideoStream, "set_display_rotation"):
        pytest.skip("this PyAV cannot write a rotation")
    studio.sample(rotation=90)
    video = studio.clip(("a.mp4", 0, 0.4))[1]["video_info"]
    assert (video["rotate"], video["width"], video["height"]) == (90.0, *SIZE)


@pytest.mark.parametrize(
    ("seen", "settings", "expected"),
    [
        ((1920, 1080), {}, (1920, 1080)),
        ((1920, 1080), {"width": 1280}, (1280, 720)),
        ((1920, 1080), {"height": 360}, (640, 360)),
        ((1920, 1080), {"width": 640, "height": 480}, (640, 480)),
        ((1080, 1920), {"width": 1280, "height": 720}, (720, 1280)),
        ((1080, 1920), {"width": 640, "height": 480, "adapt_resolution": False}, (640, 480)),
        ((640, 360), {"width": 1280, "height": 720}, (640, 360)),
        ((640, 360), {"width": 1280, "height": 720, "upsample": True}, (1280, 720)),
        ((641, 361), {}, (640, 360)),
    ],
)
def test_the_output_size_follows_the_settings(seen, settings, expected):
    assert output_size(seen, ClipSettings(**settings)) == expected


@pytest.mark.parametrize(
    ("output", "place", "uri_name"),
    [
        ({"object": "clips/c.mp4"}, "clips/c.mp4", None),
        ({"object": "clips/", "file_name": "c.mp4"}, "clips/c.mp4", "c.mp4"),
        ({"object": "clips", "file_name": "c.mp4"}, "clips/c.mp4", "c.mp4"),
        ({"object": "clips/c.mp4", "file_name": "c.mp4"}, "clips/c.mp4", "c.mp4"),
        ({"object": "Ä ö/#?%.mp4"}, "Ä ö/#?%.mp4", None),
        ({"object": "clips/"}, "clips/{job_id}.mp4", "{job_id}.mp4"),
    ],
)
def test_a_clip_lies_where_its_output_says(studio, output, place, uri_name):
    studio.sample(seconds=0.4)
    job = studio.finish(studio.order(("a.mp4", None, None), output={"bucket": "out", **output}))
    job_id = job["job_id"]
    assert [str(path.relative_to(studio.root / "out")) for path in (studio.root / "out").rglob("*.mp4")] == [
        place.format(job_id=job_id)
    ]
    expected = {"bucket": "out", "location": "cn-north-4", "object": output["object"]}
    if uri_name:
        expected["file_name"] = uri_name.format(job_id=job_id)
    assert job["output"] == expected


@pytest.mark.parametrize(
    ("prepare", "times", "code", "words"),
    [
        (lambda path: None, (0, 1), "MPC.10053", "does not exist"),
        (lambda path: path.write_bytes(b"not a video" * 999), (0, 1), "MPC.10154", "cannot be opened"),
        (lambda path: path.write_bytes(b""), (0, 1), "MPC.10154", "cannot be opened"),
        (lambda path: path.mkdir(), (0, 1), "MPC.10053", "does not exist"),
        (lambda path: media.make_sample(path, 1, SIZE), (2, 3), "MPC.10125", "Nothing lies between"),
        (lambda path: media.make_sample(path, 1, SIZE), (0.8, 0.2), "MPC.10125", "Nothing lies between"),
    ],
)
def test_a_bad_input_fails_the_job_with_a_reason(studio, prepare, times, code, words):
    prepare(studio.root / "in" / "a.mp4")
    job = studio.finish(studio.order(("a.mp4", *times)))
    assert (job["status"], job["error_code"]) == ("FAILED", code)
    assert words in job["description"]
    assert str(studio.root) not in job["description"]
    assert not [path for path in studio.root.rglob("*") if path.is_file() and path.parent.name != "in"]


def test_a_source_cut_short_fails_or_gives_what_is_there(studio):
    whole = studio.sample(seconds=2).read_bytes()
    (studio.root / "in" / "a.mp4").write_bytes(whole[: len(whole) // 2])
    assert studio.finish(studio.order(("a.mp4", None, None)))["status"] == "FAILED"


def test_hls_is_refused_with_a_reason(studio):
    studio.sample(seconds=0.4)
    job = studio.finish(studio.order(("a.mp4", None, None), format="HLS"))
    assert (job["status"], job["description"]) == ("FAILED", "The emulator makes MP4 only, not HLS.")


@pytest.mark.parametrize(
    "place",
    [
        {"bucket": "..", "object": "a.mp4"},
        {"bucket": "in", "object": "../../a.mp4"},
        {"bucket": "in", "object": "/etc/passwd"},
        {"bucket": "in/x", "object": "a.mp4"},
        {"bucket": "in", "object": "x", "file_name": "../../a.mp4"},
        {"bucket": "in", "object": "x\0.mp4"},
        {"bucket": "in", "object": "x" * 5000},
        {"bucket": "linked", "object": "a.mp4"},
        {"bucket": "in", "object": "linked.mp4"},
    ],
)
@pytest.mark.parametrize("as_output", [True, False])
def test_nothing_outside_the_media_root_is_touched(studio, tmp_path, place, as_output):
    outside = tmp_path / "outside"
    media.make_sample(outside / "a.mp4", 0.4, SIZE)
    (studio.root / "linked").symlink_to(outside)
    (studio.root / "in" / "linked.mp4").symlink_to(outside / "a.mp4")
    before = (outside / "a.mp4").read_bytes()
    studio.sample(seconds=0.4)
    harmless = {"bucket": "in", "object": "a.mp4"}
    source, output = (harmless, place) if as_output else (place, {"bucket": "out", "object": "b.mp4"})
    reply = studio.caller.create({"inputs": [{"input": source}], "output": output})
    assert (reply.status_code, reply.json()["error_code"]) == (403, "MPC.10209")
    assert [path.name for path in outside.iterdir()] == ["a.mp4"]
    assert (outside / "a.mp4").read_bytes() == before


def test_an_output_that_cannot_be_written_fails_the_job(studio):
    studio.sample(seconds=0.4)
    (studio.root / "out").write_text("a file where the bucket should be")
    job = studio.finish(studio.order(("a.mp4", None, None)))
    assert (job["status"], job["error_code"]) == ("FAILED", "MPC.10209")


def test_a_job_is_seen_to_wait_and_to_run_before_its_clip_appears(media_root):
    # By a clock of the test's own, so that each state can be seen however slow the machine.
    now = [1000.0]
    emulator = Emulator(media_root=media_root, job_seconds=100, clock=lambda: now[0])
    media.make_sample(media_root / "in" / "a.mp4", 0.4, SIZE)
    clip = media_root / "out" / "clip.mp4"
    order = parse(emulator, {"bucket": "in", "object": "a.mp4"}, {"bucket": "out", "object": "clip.mp4"})
    job = emulator.studio.take("1", order, 100)
    assert job.look(now[0]).status == "WAITING"
    now[0] += 60
    wait_for(lambda: job.look(now[0]).status == "PROCESSING")
    wait_for(lambda: job.look(now[0]).progress == 60)
    assert not clip.exists()
    now[0] += 40
    wait_for(lambda: job.look(now[0]).status == "SUCCEEDED")
    reading = job.look(now[0])
    assert clip.exists()
    assert (reading.created_at, reading.started_at, reading.ended_at) == (1000, 1060, 1100)
    emulator.close()


def test_a_waiting_job_is_cancelled_and_makes_no_clip(media_root):
    now = [1000.0]
    emulator = Emulator(media_root=media_root, job_seconds=100, clock=lambda: now[0])
    media.make_sample(media_root / "in" / "a.mp4", 0.4, SIZE)
    order = parse(emulator, {"bucket": "in", "object": "a.mp4"}, {"bucket": "out", "object": "clip.mp4"})
    job = emulator.studio.take("2", order, 100)
    assert job.cancel(now[0])
    now[0] += 200
    wait_for(lambda: not any(thread.name == "mpc-emulator-job-2" for thread in threading.enumerate()))
    assert job.look(now[0]).status == "CANCELED"
    assert not job.cancel(now[0])
    assert not (media_root / "out").exists()


def test_a_busy_studio_lets_jobs_wait_until_it_is_free(media_root):
    now = [1000.0]
    emulator = Emulator(media_root=media_root, job_seconds=10, clock=lambda: now[0])
    media.make_sample(media_root / "in" / "a.mp4", 0.4, SIZE)
    order = parse(emulator, {"bucket": "in", "object": "a.mp4"}, {"bucket": "out", "object": "clip.mp4"})
    with emulator.studio.busy():
        job = emulator.studio.take("3", order, 10)
        now[0] += 100
        time.sleep(0.3)
        assert job.look(now[0]).status == "WAITING"
    wait_for(lambda: job.look(now[0]).status == "SUCCEEDED")
    emulator.close()


def test_calls_are_answered_while_clips_are_cut(studio):
    studio.sample(seconds=4, size=(640, 360))
    job_id = studio.order(("a.mp4", None, None)).json()["job_id"]
    seen = []
    while not seen or seen[-1]["status"] in ("WAITING", "PROCESSING"):
        seen.append(studio.caller.job(job_id))
    progress = [job["progress"] for job in seen]
    assert progress == sorted(progress)
    # Were the work done on the event loop, no call would be answered in the middle of it.
    assert any(0 < share < 99 for share in progress)


def test_without_pyav_the_error_says_what_to_install(studio, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    reply = studio.order(("a.mp4", 0, 1))
    assert reply.status_code == 500
    assert "pip install 'airflow-provider-mpc[emulator]'" in reply.json()["error_msg"]


def test_a_sample_is_a_real_video_with_a_tone(tmp_path):
    path = media.make_sample(tmp_path / "deep" / "sample.mp4", seconds=1, size=(320, 180))
    told = media.describe(path)
    assert (told["video_info"]["width"], told["video_info"]["height"]) == (320, 180)
    assert math.isclose(told["duration_ms"], 1000, abs_tol=50)
    assert min(loudness(path)) > 1000


def parse(emulator, source, output):
    import json

    from airflow_provider_mpc.emulator.orders import parse_order

    body = json.dumps({"inputs": [{"input": source}], "output": output}).encode()
    return parse_order("application/json", body, emulator.region)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in 60 seconds"
        time.sleep(0.02)


@pytest.fixture
def server(emulator):
    with EmulatorServer(emulator) as running:
        yield running
