"""Answers with what AWS's runtime interface client handed over."""

import os


def handler(event, context):
    print("a line for the log")
    if isinstance(event, dict) and event.get("raise"):
        raise LookupError(event["raise"])
    return {
        "event": event,
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "time_left": 0 < context.get_remaining_time_in_millis() <= 30_000,
        "task_root": os.environ["LAMBDA_TASK_ROOT"],
    }
