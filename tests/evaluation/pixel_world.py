"""A world of 16 x 16 pixels: a light dot lies left or right, and stepping to its side pays."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Dots(gymnasium.Env):
    """Ten rounds an episode; the reward is 1 for the dot's side, else 0."""

    observation_space = spaces.Dict(
        {
            "about": spaces.Box(0, 1, (2,), np.float32),
            "screen": spaces.Box(0, 255, (16, 16, 3), np.uint8),
        }
    )
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.round = 0
        return self._look(), {}

    def step(self, action):
        reward = float(action == self.side)
        self.round += 1
        return self._look(), reward, False, self.round == 10, {}

    def _look(self):
        self.side = int(self.np_random.integers(2))
        screen = np.full((16, 16, 3), 60, np.uint8)
        screen[6:10, 10 * self.side + 1 : 10 * self.side + 5] = 250
        return {"about": np.zeros(2, np.float32), "screen": screen}


class Blind(Dots):
    """Nothing to see."""

    observation_space = spaces.Box(0, 1, (2,), np.float32)


gymnasium.register("Dots-v0", Dots)
gymnasium.register("Blind-v0", Blind)
