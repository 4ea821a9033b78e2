"""The texts of ``--help`` besides the options: first steps, and examples for each command. A test parses them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

FIRST_STEPS = """\
First steps:
  proctor demo                      A first evaluation: the bundled checkpoint, with videos.
  proctor doctor                    Is this machine ready?
  proctor list metaworld            Which tasks are there?
  proctor eval --policy.type=expert --env.type=metaworld --env.task=reach-v3
  proctor eval --policy.path=CHECKPOINT --env.type=pusht
  proctor show                      The results of the last run, also while it goes on.
  proctor runs                      The runs so far.

proctor COMMAND --help shows a command's options, and more examples.
"""

EXAMPLES = {
    "eval": """\
A LeRobot checkpoint, from a directory or the Hub:
  proctor eval --policy.path=outputs/train/act/checkpoints/last/pretrained_model --env.type=pusht
  proctor eval --policy.path=user/act_metaworld --policy.n_action_steps=10 \\
               --env.type=metaworld --env.task=MT10

Scripted experts, no weights:
  proctor eval --policy.type=expert --env.type=metaworld --env.task=reach-v3,push-v3

Any function on any Gymnasium environment:
  proctor eval --policy.type=function --policy.function=my_module:predict \\
               --env.type=gymnasium --env.task=CartPole-v1

A policy behind a server of openpi, vLLM-Omni or Isaac GR00T:
  proctor eval --policy.type=openpi --policy.url=ws://localhost:8000 --policy.name=pi05_libero \\
               --env.type=libero --env.task=libero_goal

--key=value, --key value and key=value mean the same.
--config_path=FILE takes values from a YAML or JSON file.

Exit status: 0 done, 2 wrong usage or configuration, 3 episodes ended in an error,
4 resources (disk, memory), 130 interrupted: go on with proctor resume.
""",
    "parallel": """\
On the GPUs of this machine, with as many processes as proctor autotune recommends:
  proctor parallel --num-shards auto policy.path=user/smolvla_libero env.type=libero env.task=libero_spatial

A given number of processes, on two of them:
  proctor parallel --num-shards 4 --devices cuda:0,cuda:1 --policy.path=user/act_metaworld \\
                   --env.type=metaworld --env.task=MT10 --eval.batch_size=8
""",
    "serve": """\
A checkpoint, for other programs on this machine:
  proctor serve --policy.path=user/act_metaworld --port=8000

An evaluation against it, with the results of the checkpoint itself:
  proctor eval --policy.type=openpi --policy.url=ws://localhost:8000 --env.type=metaworld --env.task=reach-v3
""",
    "resume": """\
Examples:
  proctor resume outputs/eval/2026-11-21/14-28-19_metaworld_act
  proctor resume outputs/eval/2026-11-21/14-28-19_metaworld_act --num_shards 4
""",
    "merge": """\
Shards that were run in one directory (--eval.shard_id=0 --eval.num_shards=2, and so on):
  proctor merge outputs/eval/shards

Shards that were run on several machines:
  proctor merge outputs/here outputs/there --output_dir=outputs/whole

Exit status: 0 complete, 3 episodes ended in an error, 5 episodes are missing or contradict each other.
""",
    "probe": """\
A policy that nothing is known about, behind a server:
  proctor probe --policy.type=openpi --policy.url=ws://localhost:8000 --env.type=libero --env.task=libero_goal

A checkpoint whose success rate is unexpected:
  proctor probe --policy.path=user/act_metaworld --env.type=metaworld --env.task=reach-v3 --steps=200

Exit status: 0 if the episode ran, 3 if it ended in an error.
""",
    "open-loop": """\
A checkpoint on four episodes of the dataset that it was trained on:
  proctor open-loop --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
                    --dataset.repo_id=user/demonstrations --dataset.episodes='[0,1,2,3]'

Why does it fail in the simulator? With the policy of that run:
  proctor open-loop --beside=outputs/eval/2026-11-21/14-28-19_pusht_act \\
                    --dataset.repo_id=user/demonstrations --dataset.root=data/demonstrations

Exit status: 0 done, 2 wrong usage, or policy and dataset do not fit, 3 the policy failed,
130 interrupted: the same command with the same --output_dir goes on.
""",
    "check": """\
Example:
  proctor check --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
                --env.type=pusht --env.episode_length=50

Exit status: 0 if all results are equal to the bit, 6 if not.
""",
    "reproduce": """\
Examples:
  proctor reproduce
  proctor reproduce metaworld_act
  proctor reproduce pusht_diffusion --policy.device=cuda --eval.n_episodes=100
  proctor reproduce libero_pi05 --run outputs/eval/libero

Exit status: 0 if no difference is shown, 6 if one is, 3 if episodes ended in an error.
""",
    "sweep": """\
Examples:
  proctor sweep outputs/train/act_pusht --env.type=pusht --eval.n_episodes=50
  proctor sweep outputs/train/act_pusht outputs/train/diffusion_pusht --env.type=pusht
  proctor sweep 'outputs/train/*/checkpoints/020000' --env.type=pusht --pick=best --link=outputs/best

Exit status: 0 if every checkpoint was evaluated, 3 if one failed or an episode could not be run.
""",
    "race": """\
Examples:
  proctor race outputs/train/act/checkpoints/last outputs/train/diffusion/checkpoints/last \\
               --env.type=pusht --eval.n_episodes=200
  proctor race outputs/train/act_pusht --env.type=pusht --eval.n_episodes=200

Exit status: 0 if every policy was evaluated, also if nothing is decided; 3 if one failed.
""",
    "runs": """\
Examples:
  proctor runs
  proctor runs outputs/sweep --all
  proctor runs --json
""",
    "show": """\
Examples:
  proctor show                      The run that began last.
  proctor show pusht_act            The run with this in its name.
  proctor show outputs/eval/2026-11-21/14-28-19_metaworld_act
  proctor show outputs/eval/2026-11-21/14-28-19_metaworld_act --json
""",
    "audit": """\
Examples:
  proctor audit outputs/eval/2026-11-21/14-28-19_metaworld_act
  proctor audit outputs/eval/2026-11-21/14-28-19_metaworld_act --json
  proctor audit outputs/eval/2026-11-21/14-28-19_metaworld_act \\
                --dataset.repo_id=user/reach --dataset.root=datasets/reach

Exit status: 0, or 6 if there is a finding that no policy could cause.
""",
    "profile": """\
Examples:
  proctor profile outputs/eval/2026-11-21/14-28-19_metaworld_act
  proctor profile outputs/eval/2026-11-21/14-28-19_metaworld_act --json
""",
    "compare": """\
Examples:
  proctor compare outputs/eval/act outputs/eval/act_longer
  proctor compare outputs/eval/act lerobots/eval_info.json --json
  proctor compare outputs/eval/released outputs/eval/candidate --fail-if-worse 0.05

Exit status: 0, or 6 if one is worse and --fail-if-worse is given.
""",
    "plan": """\
Examples:
  proctor plan --from 0.8 --to 0.9
  proctor plan --from 0.8 --to 0.9 --tasks 10
""",
    "autotune": """\
Examples:
  proctor autotune --policy.path=outputs/train/act/checkpoints/last/pretrained_model \\
                   --env.type=metaworld --env.task=MT10
  proctor autotune --policy.path=user/smolvla_libero --env.type=libero --seconds=60 --json
""",
    "record": """\
Examples:
  proctor record outputs/eval/2026-11-21/14-28-19_pusht_act
  proctor record outputs/eval/2026-11-21/14-28-19_metaworld_act --episode failures --output datasets/failures
""",
    "replay": """\
Examples:
  proctor replay outputs/eval/2026-11-21/14-28-19_pusht_act --episode 0,3,7
  proctor replay outputs/eval/2026-11-21/14-28-19_metaworld_act --task push-v3 \\
                 --episode failures --size 640x480
""",
    "report": """\
Examples:
  proctor report outputs/eval/act
  proctor report outputs/eval/act outputs/eval/act_longer --output=longer.html
  proctor report outputs/eval/act --embed
""",
    "view": """\
Examples:
  proctor view                      The runs in outputs/eval.
  proctor view outputs/eval/2026-11-21 --port=0 --open
""",
    "export": """\
Examples:
  proctor export outputs/eval/2026-11-21/14-28-19_pusht_act
  proctor export outputs/eval/2026-11-21/14-28-19_pusht_act --format=parquet --output=act.parquet
  proctor export outputs/eval/2026-11-21/14-28-19_pusht_act --format=hub --dataset=user/benchmark
""",
    "list": """\
Examples:
  proctor list                      Benchmarks and policies.
  proctor list metaworld            The tasks of one, and its groups of tasks.
  proctor list --json
""",
    "env": """\
Examples:
  proctor env list                  Which there are, and which could be created.
  proctor env create xarm
  proctor eval --policy.type=random --env.type=xarm

  proctor env create ./my_simulator.toml --python=3.11 --verbose
  proctor env path xarm             Its interpreter, for scripts.
  proctor env remove --stale
""",
    "demo": """\
Examples:
  proctor demo
  proctor demo --n_episodes=2 --view

Exit status: 0 done, 2 something is not installed, 3 episodes ended in an error.
""",
    "doctor": """\
Examples:
  proctor doctor
  proctor doctor --json

Exit status: 0 if the machine is usable, perhaps with warnings; 4 if something that is needed is broken.
""",
    "help": """\
Examples:
  proctor help
  proctor help eval
""",
    "completion": """\
Examples:
  proctor completion                For the shell from which it is started.
  proctor completion zsh
""",
}


def help_command(command: str | None = None, /) -> list[str]:
    """Show the help of a command, or the commands that there are: the same as proctor COMMAND --help.

    Parameters
    ----------
    command
        The name of the command.
    """
    return [*([command] if command else []), "--help"]  # which main runs in its place


SUBJECTS = {
    "Run": (),
    "Policy": ("policy", "rename_map", "trust_remote_code", "eval.inference_delay", "eval.when_late"),
    "Benchmark": ("env",),
    "Inputs of the policy": ("dataset.", "eval.audit"),
    "Videos and recording": ("eval.video", "eval.n_episodes_to_render", "eval.recording"),
    "Statistics": ("eval.ci", "eval.stop_at", "fail_"),
    "Engine": (
        "eval.batch_size",
        "eval.use_async",
        "eval.inference_",
        "eval.max_",
        "eval.batch_wait",
        "eval.step_timeout",
        "eval.reset_timeout",
        "eval.trace",
        "eval.worker_memory",
        "ray_",
        "slurm_",
    ),
    "Trackers": ("wandb.", "trackio.", "tensorboard."),
}
"""The panels of ``--help`` of a command that takes an evaluation, and how the names of their options begin. The first
panel that fits has an option, and the first of all has what fits nowhere."""


def print_panel(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Print a box of ``--help``, in which texts are wrapped to the terminal and not as in the source.

    The options of an evaluation are printed in a box for each subject.
    """
    from cyclopts.help.formatters import DefaultFormatter

    panels = [panel := panel.copy(entries=[_flowing(entry) for entry in panel.entries])]
    if any(subject_of(entry) == "Benchmark" for entry in panel.entries):
        by_subject = {subject: [each for each in panel.entries if subject_of(each) == subject] for subject in SUBJECTS}
        panels = [panel.copy(title=title, entries=entries) for title, entries in by_subject.items() if entries]
    for each in panels:
        DefaultFormatter()(console, options, each)


def subject_of(entry: HelpEntry) -> str:
    """Return the title of the panel of an option."""
    name = entry.names[0].removeprefix("--").replace("-", "_") if entry.names else ""
    return next((subject for subject, starts in SUBJECTS.items() if name.startswith(starts)), next(iter(SUBJECTS)))


def typed_options(tokens: Sequence[str]) -> Mapping[str, str]:
    """Return the types that a command line gives: ``{"env": "metaworld", "policy": "expert"}``, or a part of that."""
    given = (token.partition("=") for token in tokens)
    kinds = {"--env.type": "env", "--policy.type": "policy"}
    return {kinds[key]: value for key, _, value in given if key in kinds and value}


def print_fields(command: str, types: Mapping[str, str]) -> int:
    """Print the fields that a command has for a benchmark or a policy type, with their defaults; returns 0.

    Raises:
        ConfigError: there is no such benchmark or policy type.
    """
    from cyclopts.help import HelpEntry, HelpPanel
    from cyclopts.help.formatters import DefaultFormatter
    from rich.console import Console
    from rich.text import Text

    from proctor.cli.fields import fields_of, summary_of

    console = Console()
    for kind, name in types.items():
        title = f"{'Benchmark' if kind == 'env' else 'Policy'} {name}"
        console.print(Text(summary_of(kind, name)), "", sep="\n")
        entries = [
            HelpEntry(positive_names=(each.name,), description=Text(each.text), default=each.default or None)
            for each in fields_of(kind, name)
        ]
        if entries:
            panel = HelpPanel(title=title, format="parameter", entries=entries)
            DefaultFormatter()(console, console.options, panel)
        else:
            console.print(f"{title} has no fields of its own.")
    tasks = f"Its tasks: proctor list {types['env']}. " if "env" in types else ""
    console.print(f"\n{tasks}All other options: proctor {command} --help", soft_wrap=True, highlight=False)
    return 0


def _flowing(entry: HelpEntry) -> HelpEntry:
    """Join the lines of an entry's text, and leave out a default that says nothing."""
    from rich.text import Text

    text = getattr(entry.description, "primary_renderable", None)
    if isinstance(text, Text):
        entry.description.primary_renderable = Text(" ".join(text.plain.split()))
    return entry.copy(default=None) if entry.default == "{}" else entry
