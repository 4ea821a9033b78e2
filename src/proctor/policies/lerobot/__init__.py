"""LeRobot checkpoints as policies: ``--policy.path=<directory or Hub id>``.

Loading has two halves. :func:`load` reads files only: it finds the checkpoint, refuses a broken one with a sentence and
knows what the engine must know before workers start. :meth:`Checkpoint.open` imports torch and lerobot, which takes ten
to twenty seconds in which simulators can already come up, and gives the policy.

===================  =========================================================================="""

from proctor.policies.lerobot.checkpoint import Checkpoint, load

__all__ = ["Checkpoint", "load"]
