"""Prints as JSON an episode of a LIBERO task in a process that built its simulator, then in two that were forked from
one that had; with the private memory of each, in MB.
"""

import json
import os
import sys

os.environ |= {"LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1"}

from proctor.benchmarks.libero import Libero, LiberoConfig
from proctor.testing.episodes import digests, private_memory_mb, random_actions

suite, task_id = sys.argv[1], int(sys.argv[2])
benchmark = Libero(LiberoConfig(task=suite, task_ids=[task_id]))


def in_a_fork():
    reader, writer = os.pipe()
    if not os.fork():
        env = benchmark.make_env(*benchmark.tasks())
        looks = [env.reset(1003, 1, look=True)]
        looks += [env.step(action, look=True).observation for action in random_actions(env, 1003, 3)]
        seen = [*map(digests, looks), digests(dict(enumerate(env.state())))]
        os.write(writer, json.dumps([seen, private_memory_mb()]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found = json.load(pipe)
    os.wait()
    return found


own = in_a_fork()
benchmark.preload()
sys.stdout.write(json.dumps([own, in_a_fork(), in_a_fork()]) + "\n")
