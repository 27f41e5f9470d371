"""The first look at a command: help, the version and the commands that are no runs are answered without Hydra."""

import os
import sys

from clusterlab import __version__, commands, stopping
from clusterlab.errors import launched, tell


def main() -> None:
    """Do what the words of the command say; a person's mistake is one line and exit code 2."""
    _keep_large_blocks()
    try:
        with stopping.obeyed():
            _answer(sys.argv[1:])
    except stopping.Stopped as stop:
        if not launched():
            tell(stopping.how_to_go_on())
        sys.exit(stop.code)


def _answer(words: list[str]) -> None:
    if words and words[0] in commands.MODULES:
        commands.run(words[0], words[1:])
    elif commands.HELP_OPTIONS.intersection(words):
        commands.run("help", [word for word in words if word not in commands.HELP_OPTIONS])
    elif words == ["--version"]:
        print(f"clusterlab {__version__}")
    else:
        from clusterlab.command_line import run_words  # with it comes Hydra, which takes a second

        run_words()


def _keep_large_blocks() -> None:
    """Have glibc keep freed blocks for the next step instead of giving them back to the system every time.

    A training step on the CPU spends up to a third of its time on the page faults otherwise.
    """
    if sys.platform != "linux":
        return
    import ctypes

    trim_threshold, mmap_threshold, one_gib = -1, -3, 1 << 30
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, one_gib)
        libc.mallopt(trim_threshold, one_gib)
    except (OSError, AttributeError):
        return  # another C library: only slower


def _leave_out_working_folder() -> None:
    """Have nothing imported from where the command is typed, which may be a folder of somebody's images.

    `python -m` looks there first, for torch as for every other module.
    """
    if sys.path and sys.path[0] == os.getcwd():
        del sys.path[0]


if __name__ == "__main__":
    _leave_out_working_folder()
    main()
