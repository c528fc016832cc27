"""Small videos: every frame can be told from its pixels."""

import av
import numpy as np

SIZE = (64, 96)


def drawn(i, colour=(200, 90, 40)):
    """Frame ``i``: its number as eight black and white fields, over a bar that moves."""
    frame = np.empty((*SIZE, 3), np.uint8)
    frame[:] = colour
    for bit in range(8):
        frame[8:24, 8 + 10 * bit : 16 + 10 * bit] = 255 * (i >> bit & 1)
    frame[40:56, i % 80 : i % 80 + 16] = (20, 240, 120)
    return frame


def number_of(frame):
    """The number drawn into a frame."""
    return sum(int(frame[12:20, 10 + 10 * b : 14 + 10 * b].mean() > 128) << b for b in range(8))


def write_film(path, frames, codec="libx264", *, rate=25, gop=12, between=0):
    """Encodes frames; ``between``: B-frames at most."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = gop, between
        stream.codec_context.thread_count = 1
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
