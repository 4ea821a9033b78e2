"""LeRobot's options of parameter-efficient fine-tuning, with the same names, fields and defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """Parameter-efficient fine-tuning."""

    target_modules: list[str] | str | None = None
    full_training_modules: list[str] | None = None
    method_type: str = "LORA"
    init_type: str | None = None
    r: int = 16
