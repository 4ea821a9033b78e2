"""The renderer of simulators: :mod:`.choice` chooses it before any of them starts, by drawing :mod:`.frame`."""

from proctor.rendering.choice import choose_renderer

__all__ = ["choose_renderer"]
