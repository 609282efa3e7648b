"""Sends requests to AWS_ENDPOINT_URL that are signed rightly, wrongly, at another time, twice, in the query.

    keys_table.py FILE [SLOW]   the keys, in the form of ~/.aws/credentials: [mine], and [other] of another account;
                                SLOW waits where only time shows something

Prints a line for each: what it is, and the status and error of its answers. botocore signs; what it sends is sent as it is.
"""

import configparser
import datetime
import http.client
import json
import os
import sys
import time
import urllib.parse
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

endpoint = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"])
base = endpoint.geturl()
keys = configparser.ConfigParser()
keys.read(sys.argv[1])


def credentials(name, secret=None):
    section = keys[name]
    return Credentials(section["aws_access_key_id"], secret or section["aws_secret_access_key"])


MINE = credentials("mine")
INVOKE = "/2015-03-31/functions/table/invocations"
LIST = "/2015-03-31/functions"


def sign(method, path, body=b"", who=MINE, ago=0, region="us-east-1", signer=botocore.auth.SigV4Auth, headers=None, **more):
    """A signed request; `ago` seconds old."""
    request = AWSRequest(method, base + path, headers=headers or {}, data=body)
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - datetime.timedelta(seconds=ago)
    clock = mock.Mock(wraps=datetime.datetime)
    clock.utcnow.return_value = now
    clock.now.return_value = now.replace(tzinfo=datetime.timezone.utc)
    with mock.patch("botocore.auth.datetime", mock.Mock(datetime=clock)), mock.patch(
        "botocore.auth.get_current_datetime", lambda *_, **__: now, create=True
    ):
        signer(who, "lambda", region, **more).add_auth(request)
    return request.prepare()


def send(request, body=None, headers=()):
    """Status and error type."""
    url = urllib.parse.urlsplit(request.url)
    connection = http.client.HTTPConnection(endpoint.hostname, endpoint.port, timeout=60)
    payload = request.body if body is None else body
    connection.putrequest(request.method, f"{url.path}?{url.query}" if url.query else url.path)
    for name, value in [*request.headers.items(), *headers]:
        if name.lower() != "content-length":
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(payload or b"")))
    connection.endheaders(payload or None)
    answer = connection.getresponse()
    answer.read()
    return f"{answer.status} {answer.getheader('x-amzn-errortype', '')}".strip()


def case(name, *answers):
    print(f"{name}: {', then '.join(answers)}")


def unsigned_payload(body):
    return sign("POST", INVOKE, body, headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})


def presigned(method, path, body=b"", **more):
    return sign(method, path, body, signer=botocore.auth.SigV4QueryAuth, expires=60, **more)


def added(request, query):
    request.url += query
    return request


case("right", send(sign("POST", INVOKE, b"1")))
case("wrong secret", send(sign("POST", INVOKE, b"2", credentials("mine", "wrong"))))
case("unknown key", send(sign("POST", INVOKE, b"3", Credentials("AKNOBODY", "x"))))
case("expired by 6 minutes", send(sign("POST", INVOKE, b"4", ago=360)))
case("6 minutes ahead", send(sign("POST", INVOKE, b"5", ago=-360)))
once = sign("POST", INVOKE, b"6")
case("the same at once", send(once), send(once))
if len(sys.argv) > 2:
    time.sleep(6)
    case("replayed after 6 seconds", send(once))
reading = sign("GET", LIST)
case("the same, only reads", send(reading), send(reading))
case("other body", send(sign("POST", INVOKE, b"7"), body=b"8"))
case("other account's key", send(sign("POST", INVOKE, b"9", credentials("other"))))
case("other region", send(sign("POST", INVOKE, b"10", region="eu-west-1")))
case("unsigned x-amz header added", send(sign("POST", INVOKE, b"11"), headers=[("X-Amz-Invocation-Type", "DryRun")]))
case("header beyond ASCII added", send(sign("POST", INVOKE, b"12"), headers=[("X-Other", b"\xff\xfe")]))
case("unsigned payload", send(unsigned_payload(b"13")))
url = presigned("POST", INVOKE)
case("presigned", send(url), send(url))
case("presigned, reads", send(presigned("GET", LIST)))
case("presigned, expired", send(presigned("GET", LIST, ago=120)))
case("presigned, changed", send(added(presigned("GET", LIST), "&MaxItems=1")))
case("none", send(AWSRequest("GET", base + LIST).prepare()))
