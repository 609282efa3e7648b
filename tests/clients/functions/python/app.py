"""Answers what it was given; what a client test wants to see comes back as JSON."""

import os

VERSION = "one"


def handler(event, context):
    print("a line for the log")
    if isinstance(event, dict) and event.get("raise"):
        raise ValueError(event["raise"])
    client = context.client_context
    return {
        "event": event,
        "mode": os.environ.get("MODE"),
        "version": VERSION,
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "custom": client.custom if client else None,
    }
