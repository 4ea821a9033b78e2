"""A real Slurm of two nodes on this machine, with a configuration, keys, ports and daemons of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
NODES = ("n1", "n2")
IDLE = dict.fromkeys(NODES, "idle")
CONFIGURATION = """
ClusterName=proctor
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
SwitchType=switch/none
SchedulerParameters=sched_interval=1,sched_min_interval=100000,bf_interval=1,batch_sched_delay=0
KillWait=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=test Nodes=n1,n2 Default=YES State=UP MaxTime=60 PriorityTier=1
PartitionName=urgent Nodes=n1,n2 State=UP MaxTime=60 PriorityTier=2
"""


class RealSlurm:
    """The daemons, and what a test does to them. ``SLURM_CONF`` of this process leads to their configuration.

    Raises:
        FileNotFoundError: a program is missing.
        RuntimeError: a daemon does not start.
    """

    def __init__(self) -> None:
        self._path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        if missing := [name for name in PROGRAMS if not shutil.which(name, path=self._path)]:
            raise FileNotFoundError(f"{', '.join(missing)}: tools/system_packages installs them")
        # The socket's path must be short, and its folder must be one that munged trusts.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.folder.chmod(0o755)
        self._daemons: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        """Each by its command, in the order in which they were started."""
        self._configuration = self.folder / "slurm.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                host=socket.gethostname(),
                user=os.environ.get("USER") or subprocess.check_output(["id", "-un"], text=True).strip(),
                folder=self.folder,
                ports=free_ports(3),
            )
        )
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self._configuration), "PATH": self._path}

    def _start(self) -> None:
        key, socket_path = self.folder / "munge.key", self.folder / "munge.socket"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        (self.folder / "state").mkdir()
        own = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        self._daemon("munged", "--foreground", "--force", f"--socket={socket_path}", *own)
        wait_until(socket_path.exists, "munged")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        wait_until(lambda: self.states() == IDLE, "Slurm")

    def _daemon(self, *command: str) -> None:
        with self._log_of(command).open("wb") as log:
            # setpriv: the daemons end with this process, also if it is killed.
            self._daemons[command] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def revive(self) -> str:
        """Start the daemons that have ended, and make both nodes idle. Returns how they ended, with their logs."""
        ended = ""
        for command, daemon in list(self._daemons.items()):
            if daemon.poll() is not None:
                said = self._log_of(command).read_text(errors="replace")
                ended += f"{' '.join(command)} has ended with status {daemon.returncode}. It printed:\n{said[-5000:]}\n"
                self._daemon(*command)
        wait_until(self.states, "Slurm")
        if self.states() != IDLE:
            self._end_jobs()
            for node in NODES:
                with suppress(subprocess.SubprocessError):  # it is not down
                    self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
            wait_until(lambda: self.states() == IDLE, "Slurm")
        return ended

    def _log_of(self, command: tuple[str, ...]) -> Path:
        return self.folder / f"{'_'.join(command).replace('/', '_')[:40]}.out"

    def _end_jobs(self) -> None:
        if jobs := self.jobs():
            self.run("scancel", *jobs)
        wait_until(lambda: not self.jobs(), "the end of all jobs")

    def run(self, *command: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout

    def states(self) -> dict[str, str]:
        with suppress(subprocess.SubprocessError):
            return dict(line.split() for line in self.run("sinfo", "--noheader", "--Node", "-o", "%N %t").splitlines())
        return {}

    def jobs(self) -> dict[str, tuple[str, str]]:
        """The state and the node of each job that has not ended, by its id."""
        lines = self.run("squeue", "--noheader", "--array", "-o", "%i|%T|%N").splitlines()
        return {job: (state, node) for job, state, node in (line.split("|") for line in lines)}

    def last_job(self) -> int:
        """The id that Slurm gave to the job or task that was submitted last."""
        return int(self.run("scontrol", "show", "config").partition("NEXT_JOB_ID")[2].split()[1]) - 1

    def stop(self) -> None:
        """End what runs and the daemons, and remove their folder."""
        with suppress(subprocess.SubprocessError, RuntimeError):
            self._end_jobs()
        for daemon in reversed(self._daemons.values()):  # munged is last: the others need it until they have ended
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def free_ports(n: int) -> list[int]:
    """Ports of the loopback interface on which nothing listens."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def wait_until(condition, what: str, seconds: float = 60) -> None:
    until = monotonic() + seconds
    while not condition():
        if monotonic() > until:
            raise RuntimeError(f"{what} is not ready after {seconds:g} seconds")
        sleep(0.1)
