"""A function: `handler` is called with each event."""


def handler(event, context):
    name = event.get("name", "world")
    return {"message": f"hello {name}", "request": context.aws_request_id}
