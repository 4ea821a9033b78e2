"""The reports of a folder of runs, served to a browser on this machine.

folder      finds the runs and the sweeps
entries     the entry of a run in the index: how far it is, its rate, why it ended early
sweeps      the same of a sweep, as its sweep.json has it
pace        how fast a run goes on
pages       the index, a run's report, a comparison, a sweep: HTML, each with the policy that restricts it
events      the server-sent events that update a page while its runs go on
replays     renders videos of episodes that have none yet, one at a time, each in a process of its own
guard       refuses requests from elsewhere, and sets the headers of every response
app         the routes
server      the socket, and how serving ends

Every response is made from the folder's files at that moment. Only videos are ever written there.
"""

from proctor.view.server import Viewer

__all__ = ["Viewer"]
