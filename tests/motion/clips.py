"""Made clips: a textured square over textured ground, and a camera that moves."""

import cv2
import numpy as np


def _texture(generator, height, width, cells):
    coarse = generator.integers(0, 255, (cells, cells * width // height, 3)).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def moving_square(
    frames=16, height=120, width=160, side=32, pan=0.8, speed=(1.0, 3.0), seed=0, turn=0.0
):
    """Frames and exact masks.

    The camera pans ``pan`` pixels a frame and turns ``turn`` degrees a frame.
    """
    generator = np.random.default_rng(seed)
    ground = _texture(generator, 3 * height, 3 * width, 60)
    square = _texture(generator, side, side, 8) // 2 + np.array([120, 0, 0], np.uint8)
    clip, masks = [], []
    for t in range(frames):
        move = cv2.getRotationMatrix2D((1.5 * width, 1.5 * height), turn * t, 1.0)
        move[:, 2] -= (width + pan * t, height)
        frame = cv2.warpAffine(ground, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        y, x = int(30 + speed[0] * t), int(24 + speed[1] * t)
        frame[y : y + side, x : x + side] = square
        mask = np.zeros((height, width), bool)
        mask[y : y + side, x : x + side] = True
        clip.append(frame)
        masks.append(mask)
    return clip, np.stack(masks)


def write_frames(folder, clip):
    folder.mkdir(parents=True)
    for i, frame in enumerate(clip):
        cv2.imwrite(str(folder / f"{i:04d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def write_video(path, clip):
    height, width = clip[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
    assert writer.isOpened()
    for frame in clip:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path
