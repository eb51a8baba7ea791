"""What this package raises."""


class VernierError(Exception):
    """Base of all errors of this package."""


class CompileError(VernierError, ValueError):
    """A function cannot be compiled: wrong shapes, types or formats, or a limit that it breaks."""


class LaunchError(VernierError, ValueError):
    """A call of a compiled function is refused: sizes that differ, offsets or indices out of range, memory."""
