"""`python -m robustray`, the same as `robustray`."""

import sys


def main() -> int:
    """Run the command line. Returns the exit code."""
    from robustray.distributed.cli import main as run_command_line

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
