"""What the Python peers share: JSON lines in and out, and errors in one line on stderr."""

import json
import os
import sys


class BadInput(Exception):
    """Input that the program cannot use; the message says which and why."""


def json_lines(required):
    """The objects on stdin with their index, each with the `required` string members."""
    index = 0
    for line in sys.stdin.buffer:
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise BadInput(f"stdin entry {index} is not JSON: {error}") from None
        for name in required:
            if not isinstance(entry, dict) or not isinstance(entry.get(name), str):
                raise BadInput(f"stdin entry {index}: `{name}` must be a string")
        yield index, entry
        index += 1


def write_line(value):
    """One JSON object as one line on stdout."""
    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")


def run(main):
    """Runs `main`, with one line instead of a traceback for what a caller can put right."""
    program = os.path.basename(sys.argv[0])
    try:
        main()
        sys.stdout.flush()
    except BadInput as error:
        sys.exit(f"{program}: {error}")
    except ModuleNotFoundError as error:
        sys.exit(f"{program}: {error}; run `python3 -m pip install -r tests/peers/requirements.txt`")
    except BrokenPipeError:
        # The reader has seen enough, as with `| head`. Python would flush once more at exit and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
