"""Where the shards of an evaluation run: in this process, in processes of this machine, elsewhere."""
