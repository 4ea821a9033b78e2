"""What simulators draw with: :mod:`.choice` decides it before any of them starts, by drawing :mod:`.frame`."""

from proctor.rendering.choice import choose_renderer

__all__ = ["choose_renderer"]
