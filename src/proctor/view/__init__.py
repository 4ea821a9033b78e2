"""The reports of a folder of runs, served to a browser on this machine.

folder      which runs there are, and what the index says of each
pages       the index, a run's report, a comparison: text of HTML, with what they may do
watching    what a page hears of while its runs go on (server-sent events)
replays     films episodes that have no video yet, one at a time, each in a process of its own
guard       what is refused before anything looks at it, and the headers of every answer
app         the addresses
server      the socket, and the end

Everything served is read from the folder at that moment; nothing but videos is ever written there.
"""

from proctor.view.server import Viewer

__all__ = ["Viewer"]
