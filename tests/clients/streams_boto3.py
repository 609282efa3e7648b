"""Streams answers with boto3's InvokeWithResponseStream against AWS_ENDPOINT_URL.

    streams_boto3.py deploy               makes both functions and has each stream a little
    streams_boto3.py stream BYTES NODES   has each stream so much, stops reading on the way, leaves on the way; there are
                                          so many nodes, and where there are several each may have one instance

Exits 0 and prints "streams: ok" if the server behaves as AWS does.
"""

import base64
import io
import json
import sys
import urllib.request
import zipfile

import boto3
from botocore.config import Config

ROLE = "arn:aws:iam::123456789012:role/lambda"
client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, read_timeout=300))

NODE = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const piece = Buffer.alloc(65_536, 'x');
  for (let left = event.bytes; left > 0; left -= piece.length) {
    if (!stream.write(piece.subarray(0, left))) await new Promise((done) => stream.once('drain', done));
  }
  if (event.fails) throw new TypeError('half way');
  stream.end();
});
"""

# The Runtime API as it is documented: a chunked body, an error in its trailers.
PROVIDED = r"""#!/usr/bin/python3
import base64, json, os, socket
host, port = os.environ['AWS_LAMBDA_RUNTIME_API'].split(':')
server = socket.create_connection((host, int(port)))
reader = server.makefile('rb')
def answer():
    head = {}
    reader.readline()
    while line := reader.readline().strip():
        name, value = line.decode().split(':', 1)
        head[name.lower()] = value.strip()
    return head, reader.read(int(head['content-length']))
while True:
    server.sendall(b'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n')
    head, body = answer()
    event = json.loads(body)
    path = f"/2018-06-01/runtime/invocation/{head['lambda-runtime-aws-request-id']}/response"
    server.sendall(f'POST {path} HTTP/1.1\r\nHost: x\r\n'.encode()
        + b'Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n')
    left = event['bytes']
    while left > 0:
        piece = b'x' * min(left, 65536)
        server.sendall(b'%x\r\n%s\r\n' % (len(piece), piece))
        left -= len(piece)
    server.sendall(b'0\r\n')
    if event.get('fails'):
        server.sendall(b'Lambda-Runtime-Function-Error-Type: TypeError\r\nLambda-Runtime-Function-Error-Body: '
            + base64.b64encode(b'{"errorType":"TypeError","errorMessage":"half way"}') + b'\r\n')
    server.sendall(b'\r\n')
    answer()
"""

FUNCTIONS = {
    "streams-node": ("nodejs20.x", "index.handler", "index.js", NODE),
    "streams-provided": ("provided.al2023", "bootstrap", "bootstrap", PROVIDED),
}


def zip_of(name, text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o755 << 16
        archive.writestr(entry, text)
    return buffer.getvalue()


def invoke(name, **event):
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event), LogType="Tail")
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST", answer
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream", answer
    return answer


def drain(stream):
    """Bytes of all chunks, and what the last event says."""
    count = 0
    for event in stream:
        if "InvokeComplete" in event:
            return count, event["InvokeComplete"]
        chunk = event["PayloadChunk"]["Payload"]
        assert chunk.strip(b"x") == b""
        count += len(chunk)
    raise AssertionError("the stream has no end")


def log(name, answer, follow="false"):
    """Lines of a function's log, cut off after the end of this answer's event."""
    end = f"END RequestId: {answer['ResponseMetadata']['RequestId']}"
    url = f"{client.meta.endpoint_url}/_rekindle/logs?function={name}&follow={follow}"
    with urllib.request.urlopen(url, timeout=120) as lines:
        for line in lines:
            yield json.loads(line)["message"]
            if end in line.decode():
                return


def ended(name, answer):
    """Whether the event of this answer came to its end."""
    return any(answer["ResponseMetadata"]["RequestId"] in line for line in log(name, answer) if line.startswith("END "))


def deploy():
    for name, (runtime, handler, file, text) in FUNCTIONS.items():
        client.create_function(
            FunctionName=name, Role=ROLE, Runtime=runtime, Handler=handler, Timeout=300, MemorySize=256,
            Code={"ZipFile": zip_of(file, text)},
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        count, end = drain(invoke(name, bytes=1_000_000)["EventStream"])
        assert count == 1_000_000 and "ErrorCode" not in end, end
        assert "REPORT" in base64.b64decode(end["LogResult"]).decode(), end
        count, end = drain(invoke(name, bytes=100_000, fails=True)["EventStream"])
        assert end["ErrorCode"] == "Unhandled", end
        told = json.loads(end["ErrorDetails"])
        assert told["errorType"] == "TypeError" and told["errorMessage"] == "half way", told
        # Who does not stream gets all of it at once, as far as that goes.
        whole = client.invoke(FunctionName=name, Payload=json.dumps({"bytes": 1000}))
        assert whole["Payload"].read() == b"x" * 1000, whole
        large = client.invoke(FunctionName=name, Payload=json.dumps({"bytes": 7_000_000}))
        assert large["FunctionError"] == "Unhandled", large
        assert json.load(large["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"


def stream(length, nodes):
    for name in FUNCTIONS:
        answer = invoke(name, bytes=length)
        events = iter(answer["EventStream"])
        first = len(next(events)["PayloadChunk"]["Payload"])
        # Nobody reads on: the function has begun to answer and cannot end.
        assert not ended(name, answer)
        count, end = drain(events)
        assert first + count == length and "ErrorCode" not in end, (first, count, end)
        assert f"END RequestId: {answer['ResponseMetadata']['RequestId']}" in base64.b64decode(end["LogResult"]).decode()
        # One that leaves on the way frees the instance for the next.
        answer = invoke(name, bytes=length)
        next(iter(answer["EventStream"]))
        answer["EventStream"].close()
        for line in log(name, answer, follow="true"):
            pass
        if nodes == 1:
            answer = invoke(name, bytes=10)
            assert answer["ResponseMetadata"]["HTTPHeaders"]["x-rekindle-start"] == "warm", answer
            assert drain(answer["EventStream"])[0] == 10
        # As many at once as there are nodes, none of which is read to its end before the last has begun.
        answers = [invoke(name, bytes=1_000_000) for _ in range(nodes)]
        for answer in answers:
            assert drain(answer["EventStream"])[0] == 1_000_000


if sys.argv[1] == "deploy":
    deploy()
else:
    stream(int(sys.argv[2]), int(sys.argv[3]))
print("streams: ok")
