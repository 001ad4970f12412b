"""One error type for both transports, with TF Serving's status codes."""

import re

import grpc
import tensorflow as tf

from trainer.errors import telling_line

Code = grpc.StatusCode

# TF Serving's mapping (tensorflow_serving/model_servers/http_server.cc).
HTTP_STATUS = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
}
_BY_NUMBER = {code.value[0]: code for code in Code}
_LONGEST = 1000  # characters; gRPC sends messages as metadata, of which clients take 8 KB


class ServingError(Exception):
    """A refused or failed call: a gRPC status code and a readable message, cut where gRPC could not carry it."""

    def __init__(self, code: grpc.StatusCode, message: str):
        self.code = code
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + "..."
        super().__init__(self.message)

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def from_tensorflow(error: tf.errors.OpError) -> ServingError:
    """Keeps the code and the one line of the message that speaks of the input; drops node names and traces."""
    line = telling_line(error.message)
    asserted = re.match(r"assertion failed: \[(.*)\]$", line)
    return ServingError(_BY_NUMBER.get(error.error_code, Code.UNKNOWN), asserted[1] if asserted else line)
