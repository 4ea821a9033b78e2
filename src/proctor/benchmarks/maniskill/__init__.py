"""ManiSkill3: manipulation by simulated arms and hands (``mani-skill``, on SAPIEN); it needs Vulkan."""

from proctor.benchmarks.maniskill.benchmark import ManiSkill, ManiSkillConfig, ManiSkillEnv

__all__ = ["ManiSkill", "ManiSkillConfig", "ManiSkillEnv"]
