"""LeRobot checkpoints as policies: ``--policy.path=<directory or Hub id>``.

Loading has two halves. :func:`load` reads files only: it finds the checkpoint, refuses a broken one with a sentence and
knows what the engine must know before workers start. :meth:`LeRobotSource.open` imports torch and lerobot, which takes
ten to twenty seconds in which simulators can already start, and gives the policy.

=================  ===================================================================================
``location``       where a checkpoint is: a directory, or a repository of the Hub
``files``          what lies there, checked without torch
``formats``        JSON and safetensors files
``weights``        which files hold the weights
``names``          what its files may name: no code, no file elsewhere
``steps``          which steps its processors may have
``normalisers``    the steps that normalise, and their statistics
``normalisation``  whether what is to be normalised is
``dropped``        configuration fields of older LeRobots that had no use
``overrides``      ``--policy.<field>=value``
``policy_types``   what an evaluator has to know about a type of policy; **the place to add one**
``contract``       whether policy and environment fit
``checkpoint``     all that is known of a checkpoint from its files
``foreign_code``   while it is loaded, nothing it names runs code
``model``          configuration, weights and processors through lerobot (imports it)
``policy``         the policy itself (imports torch)
``source``         the two halves: a checkpoint that can be opened
``live``           a policy object of lerobot in place of a checkpoint
``randomness``     random numbers of a batch, row by row (imports torch)
``copies``         one copy per episode of a policy that remembers (imports torch)
=================  ===================================================================================
"""

from proctor.policies.lerobot.source import LeRobotSource, load

__all__ = ["LeRobotSource", "load"]
