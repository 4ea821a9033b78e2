"""The other side of the pipe: the processes in which simulators run, and what they and the engine send each other."""
