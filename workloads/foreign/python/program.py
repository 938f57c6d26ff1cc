"""A command in Python: what it was given as arguments, then its standard input in capitals."""

from wit_world import exports
from wit_world.imports import environment
from wit_world.imports.stdin import get_stdin
from wit_world.imports.stdout import get_stdout
from wit_world.imports.streams import StreamError_Closed
from componentize_py_types import Err

CHUNK_BYTES = 4096  # what `blocking_write_and_flush` takes at once


class Run(exports.Run):
    def run(self) -> None:
        arguments = " ".join(environment.get_arguments()[1:])
        stdin, stdout = get_stdin(), get_stdout()
        stdout.blocking_write_and_flush(f"python was given: {arguments}\n".encode()[:CHUNK_BYTES])
        while True:
            try:
                chunk = stdin.blocking_read(CHUNK_BYTES)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return
                raise
            stdout.blocking_write_and_flush(chunk.upper())
