from dataclasses import dataclass, field

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode


@PreTrainedConfig.register_subclass("wanderer")
@dataclass
class WandererConfig(PreTrainedConfig):
    """A random walk whose steps a network chooses."""

    n_obs_steps: int = 1
    n_action_steps: int = 3
    hidden_dim: int = 8
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {"STATE": NormalizationMode.MEAN_STD, "ACTION": NormalizationMode.MEAN_STD}
    )

    def validate_features(self):
        pass

    def get_optimizer_preset(self):
        return None

    def get_scheduler_preset(self):
        return None

    observation_delta_indices = None
    action_delta_indices = None
    reward_delta_indices = None
