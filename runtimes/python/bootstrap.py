"""Runs a Python Lambda function: imports the handler named by _HANDLER and feeds
it events from the Lambda Runtime API, one at a time over one connection.

Only modules that the interpreter has loaded anyway are imported before the
handler (a cold start pays for each); `logging` is set up when somebody imports it.
"""

import os
import sys
import time

import _socket  # what `socket` wraps; importing `socket` itself costs milliseconds
import json

API = "/2018-06-01/runtime/"
JSON_LOGS = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
#: Request id of the running event, for log lines.
current_request_id = None


class Fault(Exception):
    """A failure of loading or marshalling, named as AWS names it."""

    def __init__(self, error_type, message, trace=()):
        super().__init__(message)
        self.error_type = error_type
        self.trace = list(trace)


# --- the Runtime API -------------------------------------------------------


class Api:
    """One keep-alive HTTP/1.1 connection to the Runtime API."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.head = f" HTTP/1.1\r\nHost: {address}\r\nUser-Agent: rekindle-python\r\n"
        self.socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self.socket.connect((host, int(port)))
        try:
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError:
            pass  # only a matter of speed
        self.rest = b""

    def next_event(self):
        """Waits for an event: its headers (names in lower case) and its body."""
        status, headers, body = self.call(f"GET {API}invocation/next{self.head}\r\n".encode())
        if status != 200:
            raise ConnectionError(f"asking for an event was answered {status}")
        return headers, body

    def restore_next(self):
        """Waits while the snapshot is taken; what only a clone may know, by name."""
        body = self.wait_in("restore/next")
        return json.loads(body)["environment"] if body else {}

    def wait_in(self, path):
        """Waits there while the snapshot is taken; the body of the answer."""
        status, _, body = self.call(f"GET {API}{path}{self.head}\r\n".encode())
        if status != 200:
            raise ConnectionError(f"waiting for the snapshot was answered {status}")
        return body

    def post(self, path, body, error_type=None, echo=None):
        """Posts an answer and returns the status."""
        head = f"POST {API}{path}{self.head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if error_type is not None:
            # Exception names may be any identifier; a header may not.
            name = error_type.encode("ascii", "replace").decode("ascii")
            head += f"Lambda-Runtime-Function-Error-Type: {name}\r\n"
        if echo is not None:
            head += f"Lambda-Runtime-Invocation-Id: {echo}\r\n"
        return self.call(head.encode() + b"\r\n" + body)[0]

    def call(self, request):
        self.socket.sendall(request)
        while True:
            head = self.until(b"\r\n\r\n").decode("utf-8", "replace").split("\r\n")
            status = int(head[0].split(" ", 2)[1])
            if status != 100:
                break
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return status, headers, self.chunks()
        return status, headers, self.exactly(int(headers.get("content-length", 0)))

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the Runtime API closed the connection")
        return data

    def until(self, end):
        data = self.rest
        while end not in data:
            data += self.more()
        found, _, self.rest = data.partition(end)
        return found

    def exactly(self, length):
        parts, have = [self.rest], len(self.rest)
        while have < length:
            parts.append(self.more())
            have += len(parts[-1])
        data = b"".join(parts)
        self.rest = data[length:]
        return data[:length]

    def chunks(self):
        data = b""
        while size := int(self.until(b"\r\n").split(b";")[0], 16):
            data += self.exactly(size)
            self.until(b"\r\n")
        while self.until(b"\r\n"):
            pass  # trailers
        return data


# --- what a handler sees ---------------------------------------------------


class CognitoIdentity:
    """Who called, if a Cognito identity did."""

    def __init__(self, fields):
        self.cognito_identity_id = fields.get("cognitoIdentityId")
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId")


class Client:
    """The mobile application that called."""

    def __init__(self, fields):
        for name in ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name"):
            setattr(self, name, fields.get(name))


class ClientContext:
    """What the caller sent in X-Amz-Client-Context."""

    def __init__(self, fields):
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        self.client = Client(fields["client"]) if isinstance(fields.get("client"), dict) else None


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, headers):
        environ = os.environ
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id", "")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        client = headers.get("lambda-runtime-client-context")
        client = json.loads(client) if client else None
        self.client_context = ClientContext(client) if isinstance(client, dict) else None
        identity = headers.get("lambda-runtime-cognito-identity")
        self.identity = CognitoIdentity(json.loads(identity) if identity else {})
        self._epoch_deadline_time_in_ms = int(headers.get("lambda-runtime-deadline-ms") or 0)

    def get_remaining_time_in_millis(self):
        return max(self._epoch_deadline_time_in_ms - int(time.time() * 1000), 0)

    def log(self, message):
        write_log(str(message))

    def __repr__(self):
        fields = ",".join(f"{k}={v}" for k, v in vars(self).items() if not k.startswith("_"))
        return f"LambdaContext([{fields}])"


# --- logs ------------------------------------------------------------------


def write_log(text):
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        sys.stdout.write(text.encode("ascii", "backslashreplace").decode("ascii"))
    sys.stdout.flush()


def log_error(body):
    """Prints an error body the way AWS does, with its traceback."""
    if JSON_LOGS:
        record = {"timestamp": iso_time(time.time()), "log_level": "ERROR", **body}
        return write_log(json.dumps(record, ensure_ascii=False) + "\n")
    lines = [f"[ERROR] {body['errorType']}: {body['errorMessage']}"]
    if body["stackTrace"]:
        lines.append("Traceback (most recent call last):")
        lines.extend(line for entry in body["stackTrace"] for line in entry.splitlines())
    write_log("\n".join(lines) + "\n")


def iso_time(seconds):
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{clock}.{int(seconds * 1000) % 1000:03d}Z"


def set_up_logging(logging):
    """Gives the root logger the handler and line format that AWS gives it."""

    class LambdaFormatter(logging.Formatter):
        def format(self, record):
            record.aws_request_id = current_request_id or ""
            if not JSON_LOGS:
                return super().format(record)
            fields = {
                "timestamp": iso_time(record.created),
                "level": record.levelname,
                "message": record.getMessage(),
                "logger": record.name,
            }
            if record.exc_info:
                fields["errorType"] = record.exc_info[0] and record.exc_info[0].__name__
                fields["errorMessage"] = str(record.exc_info[1])
                fields["stackTrace"] = self.formatException(record.exc_info).splitlines()
            if current_request_id:
                fields["requestId"] = current_request_id
            return json.dumps(fields, ensure_ascii=False, default=str)

    class LambdaHandler(logging.Handler):
        def emit(self, record):
            write_log(self.format(record) + "\n")

    formatter = LambdaFormatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = LambdaHandler()
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.addHandler(handler)
    level = os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    if level:
        names = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL"}
        number = logging.getLevelName(names.get(level, level))
        if isinstance(number, int):
            root.setLevel(number)


class LoggingImport:
    """Sets `logging` up in the moment it is first imported."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(cls)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                run = spec.loader.exec_module

                def exec_module(module):
                    run(module)
                    set_up_logging(module)

                spec.loader.exec_module = exec_module
                return spec
        return None


# --- errors ----------------------------------------------------------------


def error_body(error, request_id=""):
    """The JSON object that AWS answers for an exception."""
    if isinstance(error, Fault):
        error_type, trace = error.error_type, error.trace
    else:
        error_type, trace = type(error).__name__, stack_of(error)
    try:
        message = str(error)
    except Exception as failure:
        message = f"<the message of {error_type} could not be made: {type(failure).__name__}>"
    return {"errorMessage": message, "errorType": error_type, "requestId": request_id, "stackTrace": trace}


def stack_of(error):
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    ours = ("<frozen importlib", __file__)
    while frames and frames[0].filename.startswith(ours):
        frames.pop(0)
    return traceback.format_list(frames)


def encode(value):
    """JSON in UTF-8. Half characters (surrogates), which UTF-8 does not have, are escapes in it."""
    text = json.dumps(value, ensure_ascii=False, default=unusual)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, default=unusual).encode("ascii")


def unusual(value):
    """Types that AWS's encoder knows beyond the standard ones."""
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


# --- life ------------------------------------------------------------------


def load_handler(name):
    """Imports `package/module.function` (dots or slashes) and returns the function."""
    module_name, dot, function_name = name.rpartition(".")
    if not dot:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)")
    dotted = module_name.replace("/", ".").lstrip(".")
    if dotted.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        __import__(dotted)
        module = sys.modules[dotted]
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace) from error
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'") from None


def answer(handler, headers, body):
    """Runs the handler on one event; its answer as JSON bytes."""
    try:
        event = json.loads(body)
    except ValueError as error:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error
    result = handler(event, LambdaContext(headers))
    try:
        return encode(result)
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


def handle(api, handler, headers, body):
    global current_request_id
    request_id = current_request_id = headers["lambda-runtime-aws-request-id"]
    trace_id = headers.get("lambda-runtime-trace-id")
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    echo = headers.get("lambda-runtime-invocation-id")
    try:
        result = answer(handler, headers, body)
    except Exception as error:
        body = error_body(error, request_id)
        log_error(body)
        sys.stdout.flush()
        sys.stderr.flush()
        status = api.post(f"invocation/{request_id}/error", encode(body), body["errorType"], echo)
    else:
        sys.stdout.flush()
        sys.stderr.flush()
        status = api.post(f"invocation/{request_id}/response", result, None, echo)
    # 413 is the function's own failure and is told to its caller; the loop goes on.
    if status not in (202, 413):
        raise ConnectionError(f"the answer to {request_id} was answered {status}")


def warm_up(handler):
    """Runs the handler on the events of REKINDLE_WARM_UP, a JSON list: their answers go nowhere,
    their failures to the log. What they load and compile is in the snapshot."""
    global current_request_id
    events = os.environ.get("REKINDLE_WARM_UP")
    for number, event in enumerate(json.loads(events) if events else [], 1):
        current_request_id = f"warm-up-{number}"
        headers = {
            "lambda-runtime-aws-request-id": current_request_id,
            "lambda-runtime-deadline-ms": str(int(time.time() * 1000) + 10_000),
        }
        try:
            encode(handler(event, LambdaContext(headers)))
        except Exception as error:
            log_error(error_body(error, current_request_id))
    current_request_id = None


class Stage:
    """The Runtime API in a rehearsal: it refuses an answer to what it never asked, and nothing else comes of it."""

    def __init__(self, api):
        self.api = api

    def post(self, path, body, error_type, echo):
        self.api.post(path, body, error_type, echo)
        return 202


def rehearse(api):
    """Goes twice through what lies around a handler: what is loaded, specialised and allocated there is
    in the snapshot; otherwise the first event of every clone would wait for it."""
    global current_request_id
    headers = {
        "lambda-runtime-aws-request-id": "rehearsal",
        "lambda-runtime-invocation-id": "rehearsal",
        "lambda-runtime-trace-id": "none",
        "lambda-runtime-deadline-ms": "0",
    }
    for _ in range(2):
        handle(Stage(api), lambda event, context: None, headers, b"{}")
    current_request_id = None
    os.environ.pop("_X_AMZN_TRACE_ID", None)


def snapshot_to_come():
    """Whether a snapshot is still to come: a module may have had it taken while it was loaded."""
    try:
        with open("/proc/rekindle/snapshot") as file:
            return file.read().strip() == "none"
    except OSError:
        return False


def main():
    global JSON_LOGS
    sys.stdout.reconfigure(line_buffering=True)
    restore = None
    initialization = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE")
    if initialization in ("snap-start", "template"):
        import rekindle_restore as restore  # before the function's modules can be in the way
    # Connecting before the function is loaded tells the platform that the runtime is up.
    api = Api(os.environ["AWS_LAMBDA_RUNTIME_API"])
    if initialization == "template":
        import rekindle_template

        rekindle_template.become_a_function(api)
        JSON_LOGS = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
        set_up_logging(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, LoggingImport)
    task_root = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    # As on AWS: the function first, then layers; what is beside this file last.
    sys.path[0:1] = [task_root, *(p for p in ("/opt/python",) if os.path.isdir(p))]
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))
    try:
        handler = load_handler(os.environ.get("_HANDLER", ""))
    except Exception as error:
        body = error_body(error)
        log_error(body)
        sys.stderr.flush()
        api.post("init/error", encode(body), body["errorType"])
        os._exit(1)  # threads that the function started must not keep a dead runtime alive
    if restore is not None:
        warm_up(handler)
        if snapshot_to_come():
            rehearse(api)
        try:
            restore.pass_through_snapshot(api)
        except restore.HookFailed as failed:
            body = error_body(failed.error)
            log_error(body)
            sys.stderr.flush()
            api.post(failed.path, encode(body), failed.error_type)
            os._exit(failed.status)
    while True:
        headers, body = api.next_event()
        handle(api, handler, headers, body)


if __name__ == "__main__":
    main()
