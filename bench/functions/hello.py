"""The least a Python function does; the event may keep it busy for a while, so that it can be looked at."""

import time


def handler(event, context):
    if "hold_ms" in event:
        time.sleep(event["hold_ms"] / 1000)
    return {"greeting": f"Hello, {event['name']}!"}
