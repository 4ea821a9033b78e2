"""Prints as JSON an episode of a LIBERO task in a process that built its simulator, then in two that were forked from
one that had; with the private memory of each, in MB.
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

os.environ |= {"LP_NUM_THREADS": "0", "OMP_NUM_THREADS": "1"}

from proctor.benchmarks.libero.benchmark import Libero, LiberoConfig
from proctor.testing.episodes import digests, private_memory_mb, random_actions

benchmark = Libero(LiberoConfig(task=sys.argv[1], task_ids=[int(sys.argv[2])]))


def an_episode():
    env = benchmark.make_env(*benchmark.tasks())
    looks = [env.reset(1003, 1, look=True)]
    looks += [env.step(action, look=True).observation for action in random_actions(env, 1003, 3)]
    return [*map(digests, looks), digests(dict(enumerate(env.state())))], private_memory_mb()


def in_a_fork():
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as fork:
        return fork.submit(an_episode).result()


own = in_a_fork()
benchmark.preload()
sys.stdout.write(json.dumps([own, in_a_fork(), in_a_fork()]) + "\n")
