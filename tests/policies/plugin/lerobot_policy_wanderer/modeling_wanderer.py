from collections import deque

import torch
from lerobot.policies.pretrained import PreTrainedPolicy

from .configuration_wanderer import WandererConfig


class WandererPolicy(PreTrainedPolicy):
    """Remembers in ways of its own: a recurrent state that every observation moves, a small buffer, a queue."""

    config_class = WandererConfig
    name = "wanderer"

    def __init__(self, config, **kwargs):
        super().__init__(config)
        n_actions = config.action_feature.shape[0]
        self.cell = torch.nn.GRUCell(config.robot_state_feature.shape[0], config.hidden_dim)
        self.head = torch.nn.Linear(config.hidden_dim, n_actions)
        self.register_buffer("position", torch.zeros(n_actions))
        self.register_buffer("table", torch.zeros(600, 600))
        self.reset()

    def reset(self):
        self._hidden = None
        self._queue_of_my_own = deque()
        self.position.zero_()

    def select_action(self, batch, **kwargs):
        self._hidden = self.cell(batch["observation.state"], self._hidden)
        if not self._queue_of_my_own:
            for _ in range(self.config.n_action_steps):
                self.position += 0.3 * torch.randn_like(self.position)
                self._queue_of_my_own.append(self.head(self._hidden) + self.position)
        return self._queue_of_my_own.popleft()

    def predict_action_chunk(self, batch, **kwargs):
        raise NotImplementedError

    def forward(self, batch):
        raise NotImplementedError

    def get_optim_params(self):
        return self.parameters()
