"""Greets somebody and says where it runs: `{"name": "Ada"}` in, a greeting out."""

import os
import platform

#: How often this instance has greeted; it starts at zero with each new instance.
greetings = 0


def handler(event, context):
    global greetings
    greetings += 1
    name = event.get("name", "world")
    print(f"greeting {name} for the {greetings}. time")
    return {
        "greeting": f"Hello, {name}!",
        "from": f"Python {platform.python_version()} on {os.uname().sysname}",
        "greetings": greetings,
        "request": context.aws_request_id,
        "milliseconds_left": context.get_remaining_time_in_millis(),
    }
