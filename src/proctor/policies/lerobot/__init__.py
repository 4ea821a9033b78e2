"""LeRobot checkpoints as policies: ``--policy.path=<directory or Hub id>``.

Loading has two halves. :func:`load` reads files only: it finds the checkpoint, refuses a broken one with a sentence and
has the facts that the engine needs before workers start. :meth:`LeRobotSource.open` imports torch and lerobot, and
gives the policy. The import takes seconds, in which simulators can already start.

=================  ===================================================================================
``location``       finds a checkpoint: a directory, or a repository of the Hub
``files``          reads and checks the files in that directory, without torch
``formats``        JSON and safetensors files
``weights``        finds the files of the weights
``names``          checks that its files name no code and no file elsewhere
``steps``          checks that its processors have only known steps
``normalisers``    the steps that normalise, and their statistics
``normalisation``  checks that its processors normalise what the policy wants normalised
``dropped``        configuration fields of older LeRobots that had no use
``overrides``      ``--policy.<field>=value``
``policy_types``   declares the types of policy; **the place to add one**
``contract``       checks that policy and environment fit
``checkpoint``     holds all that is known of a checkpoint from its files
``imports``        imports of lerobot what a type of policy needs, in processes of Proctor's own
``foreign_code``   keeps what a checkpoint names from running code while it is loaded
``model``          makes configuration, weights and processors through lerobot (imports it)
``policy``         the policy itself (imports torch)
``source``         the two halves: a checkpoint that can be opened
``live``           a policy object of lerobot in place of a checkpoint
``randomness``     random numbers of a batch, row by row (imports torch)
``copies``         one copy per episode of a policy that remembers (imports torch)
``cpu``            makes inference on a CPU cheaper, to the bit the same (imports torch)
``convolutions``   convolutions on a CPU (imports torch)
``unet``           Diffusion's U-Net on a CPU (imports torch)
=================  ===================================================================================
"""

from proctor.policies.lerobot.source import LeRobotSource, load

__all__ = ["LeRobotSource", "load"]
