"""An HTTP handler in Python: the method, the path and the request's body in capitals."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

CHUNK_BYTES = 4096  # what `blocking_write_and_flush` takes at once


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        method = type(request.method()).__name__.removeprefix("Method_").upper()
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as stream:
            line = f"python answers {method} {request.path_with_query()}\n"
            stream.blocking_write_and_flush(line.encode()[:CHUNK_BYTES])
            for chunk in chunks(request):
                stream.blocking_write_and_flush(chunk.upper())
        OutgoingBody.finish(body, None)


def chunks(request):
    with request.consume() as body, body.stream() as stream:
        while True:
            try:
                yield stream.blocking_read(CHUNK_BYTES)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    return
                raise
