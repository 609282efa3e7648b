"""Drives every supported Lambda operation with boto3 against AWS_ENDPOINT_URL.

Leaves nothing behind. Exits 0 and prints "boto3: ok" if the server behaves as AWS does.
"""

import base64
import hashlib
import io
import json
import os
import pathlib
import re
import sys
import urllib.request
import uuid
import zipfile

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SOURCE = pathlib.Path(__file__).parent / "functions" / "python" / "app.py"
ROLE = "arn:aws:iam::123456789012:role/lambda"
RUNTIME = os.environ.get("TEST_PYTHON_RUNTIME", "python3.11")
client = boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}))
run = uuid.uuid4().hex[:8]


def zip_of(text, name="app.py"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def refused(code, status, text, call, **arguments):
    """The call must fail with this exception, status and text."""
    try:
        call(**arguments)
    except ClientError as error:
        told = error.response
        assert told["Error"]["Code"] == code, told
        assert told["ResponseMetadata"]["HTTPStatusCode"] == status, told
        assert text in told["Error"]["Message"], told
        if code.endswith("Exception") and hasattr(client.exceptions, code):
            assert isinstance(error, getattr(client.exceptions, code)), type(error)
        return told
    raise AssertionError(f"{call.__name__} was not refused")


def create(name, code, **more):
    arguments = dict(FunctionName=name, Role=ROLE, Runtime=RUNTIME, Handler="app.handler", Code={"ZipFile": code})
    return client.create_function(**{**arguments, **more})


def payload(answer):
    return json.loads(answer["Payload"].read())


def lifecycle():
    name = f"boto3-{run}"
    code = zip_of(SOURCE.read_text())
    created = create(
        name, code, Description="first", Environment={"Variables": {"MODE": "test"}}, Tags={"team": "a"}, Timeout=30,
        MemorySize=256, LoggingConfig={"LogFormat": "Text"}, EphemeralStorage={"Size": 1024}, Publish=False,
    )
    assert created["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert created["State"] == "Pending" and created["StateReasonCode"] == "Creating", created
    assert created["StateReason"] == "The function is being created."
    assert created["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert created["CodeSize"] == len(code)
    assert created["Version"] == "$LATEST" and created["PackageType"] == "Zip"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", created["LastModified"]), created
    arn = created["FunctionArn"]
    assert re.fullmatch(rf"arn:aws:lambda:[a-z0-9-]+:\d{{12}}:function:{name}", arn), arn

    sent = []
    client.meta.events.register("before-send.lambda", lambda request, **_: sent.append(request.url), unique_id="count")
    for waiter in ["function_exists", "function_active", "function_active_v2", "function_updated", "function_updated_v2"]:
        client.get_waiter(waiter).wait(FunctionName=name)
    assert len(sent) == 5, f"a waiter had to look twice: {sent}"
    client.meta.events.unregister("before-send.lambda", unique_id="count")

    got = client.get_function(FunctionName=name)
    configuration = got["Configuration"]
    assert configuration["State"] == "Active" and configuration["LastUpdateStatus"] == "Successful"
    assert configuration["RevisionId"] != created["RevisionId"]
    assert configuration["Environment"] == {"Variables": {"MODE": "test"}}
    assert configuration["LoggingConfig"] == {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"}
    assert configuration["EphemeralStorage"] == {"Size": 1024} and configuration["Architectures"] == ["x86_64"]
    assert configuration["SnapStart"] == {"ApplyOn": "None", "OptimizationStatus": "Off"}
    assert configuration["TracingConfig"] == {"Mode": "PassThrough"}
    assert "StateReason" not in configuration and "Concurrency" not in got
    assert got["Tags"] == {"team": "a"}
    assert got["Code"]["RepositoryType"] == "S3"
    with urllib.request.urlopen(got["Code"]["Location"]) as response:
        assert response.read() == code, "the download is the upload"

    for form in [name, f"{name}:$LATEST", arn, f"{arn}:$LATEST", ":".join(arn.split(":")[4:])]:
        assert client.get_function_configuration(FunctionName=form)["FunctionName"] == name, form
    qualified = client.get_function(FunctionName=name, Qualifier="$LATEST")["Configuration"]
    assert qualified["FunctionArn"] == f"{arn}:$LATEST"

    versions = client.list_versions_by_function(FunctionName=name)["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST"]
    assert versions[-1]["FunctionArn"] == f"{arn}:$LATEST"

    invoke(name, arn)
    update(name, code)
    tags(arn)
    read_by_terraform(name)

    assert create_again(name, code)
    deleted = client.delete_function(FunctionName=name)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    for call in [client.get_function, client.delete_function, client.invoke, client.get_function_configuration]:
        refused("ResourceNotFoundException", 404, f"Function not found: {arn}", call, FunctionName=name)


def create_again(name, code):
    return refused(
        "ResourceConflictException", 409, f"Function already exist: {name}", client.create_function,
        FunctionName=name, Role=ROLE, Runtime=RUNTIME, Handler="app.handler", Code={"ZipFile": code},
    )


def invoke(name, arn):
    context = base64.b64encode(json.dumps({"custom": {"key": "value"}}).encode()).decode()
    answer = client.invoke(
        FunctionName=name, Payload=json.dumps({"n": 1, "text": "grüße"}), LogType="Tail", ClientContext=context
    )
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    body = payload(answer)
    assert body["event"] == {"n": 1, "text": "grüße"} and body["mode"] == "test" and body["version"] == "one"
    assert body["custom"] == {"key": "value"}, body
    assert body["request_id"] == answer["ResponseMetadata"]["RequestId"], body
    assert body["arn"] == arn
    log = base64.b64decode(answer["LogResult"]).decode()
    assert "a line for the log" in log and f"START RequestId: {body['request_id']}" in log, log
    assert "REPORT RequestId: " in log and len(log) <= 4096
    assert "LogResult" not in client.invoke(FunctionName=name)
    assert payload(client.invoke(FunctionName=arn))["event"] == {}
    for event in [b"null", b"[1,2]", b'"text"', b"3.5"]:
        assert payload(client.invoke(FunctionName=name, Payload=event))["event"] == json.loads(event)

    failed = client.invoke(FunctionName=name, Payload=json.dumps({"raise": "asked to"}))
    assert failed["StatusCode"] == 200 and failed["FunctionError"] == "Unhandled"
    body = payload(failed)
    assert body["errorType"] == "ValueError" and body["errorMessage"] == "asked to" and body["stackTrace"], body

    dry = client.invoke(FunctionName=name, InvocationType="DryRun")
    assert dry["StatusCode"] == 204 and dry["Payload"].read() == b""
    refused("InvalidParameterValueException", 400, "asynchronous", client.invoke, FunctionName=name, InvocationType="Event")
    refused(
        "InvalidRequestContentException", 400, "Could not parse request body into json: ", client.invoke,
        FunctionName=name, Payload=b"{not json",
    )
    refused(
        "RequestTooLargeException", 413, "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
        client.invoke, FunctionName=name, Payload=b'"' + b"x" * 6291456 + b'"',
    )
    refused("InvalidRequestContentException", 400, "Base64", client.invoke, FunctionName=name, ClientContext="%%%")
    refused("ResourceNotFoundException", 404, f"Function not found: {arn}:7", client.invoke, FunctionName=name, Qualifier="7")
    refused(
        "InvalidParameterValueException", 400, "The derived qualifier from the function name does not match",
        client.invoke, FunctionName=f"{name}:1", Qualifier="2",
    )


def update(name, code):
    before = client.get_function_configuration(FunctionName=name)
    new = zip_of(SOURCE.read_text().replace('"one"', '"two"'))
    dry = client.update_function_code(FunctionName=name, ZipFile=new, DryRun=True)
    assert dry["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert client.get_function_configuration(FunctionName=name)["RevisionId"] == before["RevisionId"]
    updated = client.update_function_code(FunctionName=name, ZipFile=new, RevisionId=before["RevisionId"])
    assert updated["State"] == "Active" and updated["LastUpdateStatus"] == "InProgress", updated
    assert updated["LastUpdateStatusReasonCode"] == "Creating"
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    after = client.get_function_configuration(FunctionName=name)
    assert len({before["RevisionId"], updated["RevisionId"], after["RevisionId"]}) == 3
    assert after["CodeSha256"] != before["CodeSha256"]
    assert payload(client.invoke(FunctionName=name))["version"] == "two"

    stale = dict(FunctionName=name, RevisionId=before["RevisionId"])
    text = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API"
    refused("PreconditionFailedException", 412, text, client.update_function_code, ZipFile=code, **stale)
    refused("PreconditionFailedException", 412, text, client.update_function_configuration, Timeout=5, **stale)

    client.update_function_configuration(
        FunctionName=name, Environment={"Variables": {"MODE": "changed"}}, Timeout=20, Description="second",
        RevisionId=after["RevisionId"],
    )
    client.get_waiter("function_updated").wait(FunctionName=name)
    changed = client.get_function_configuration(FunctionName=name)
    assert (changed["Timeout"], changed["Description"], changed["MemorySize"]) == (20, "second", 256)
    assert payload(client.invoke(FunctionName=name))["mode"] == "changed"
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {}})
    assert "Environment" not in client.get_function_configuration(FunctionName=name)


def tags(arn):
    client.tag_resource(Resource=arn, Tags={"cost": "1", "owner": "x y"})
    assert client.list_tags(Resource=arn)["Tags"] == {"team": "a", "cost": "1", "owner": "x y"}
    client.untag_resource(Resource=arn, TagKeys=["team", "owner"])
    assert client.list_tags(Resource=arn)["Tags"] == {"cost": "1"}
    refused(
        "InvalidParameterValueException", 400, "Number of tags exceeds resource tag limit.", client.tag_resource,
        Resource=arn, Tags={f"k{n}": "v" for n in range(50)},
    )
    refused("ResourceNotFoundException", 404, "Function not found", client.list_tags, Resource=arn + "-missing")


def read_by_terraform(name):
    signing = client.get_function_code_signing_config(FunctionName=name)
    assert signing["FunctionName"] == name and not signing.get("CodeSigningConfigArn")
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName=name)
    assert client.get_runtime_management_config(FunctionName=name)["UpdateRuntimeOn"] == "Auto"
    assert client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Terminate"
    assert client.list_aliases(FunctionName=name)["Aliases"] == []
    assert client.list_versions_by_function(FunctionName=name)["Versions"][-1]["Version"] == "$LATEST"
    refused("ResourceNotFoundException", 404, "", client.get_policy, FunctionName=name)
    refused("ResourceNotFoundException", 404, "", client.get_function_url_config, FunctionName=name)
    for operation, arguments in [
        (client.put_function_concurrency, {"ReservedConcurrentExecutions": 1}),
        (client.put_function_event_invoke_config, {"MaximumRetryAttempts": 1}),
    ]:
        refused("NotImplementedException", 501, "Rekindle does not implement", operation, FunctionName=name, **arguments)


def lists():
    names = [f"list-{run}-{n}" for n in range(5)]
    for name in names:
        create(name, zip_of("handler = None"))
    found, pages = [], 0
    for page in client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2}):
        pages += 1
        assert len(page["Functions"]) <= 2
        for function in page["Functions"]:
            assert "State" not in function and "LastUpdateStatus" not in function
            found.append(function["FunctionName"])
    assert [name for name in found if name in names] == names and pages >= 3, found
    usage = client.get_account_settings()
    assert usage["AccountUsage"]["FunctionCount"] >= 5
    assert usage["AccountLimit"]["CodeSizeUnzipped"] == 262144000
    everything = client.list_functions(FunctionVersion="ALL")["Functions"]
    assert all(function["FunctionArn"].endswith(":$LATEST") for function in everything)
    for name in names:
        client.delete_function(FunctionName=name)
    assert not any(item["FunctionName"] in names for item in client.list_functions()["Functions"])


def code_that_says(word):
    return zip_of(SOURCE.read_text().replace('"one"', f'"{word}"'))


def versions():
    name = f"versions-{run}"
    created = create(
        name, code_that_says("first"), Publish=True, Description="all", Tags={"team": "a"},
        Environment={"Variables": {"MODE": "m1"}}, SnapStart={"ApplyOn": "PublishedVersions"},
    )
    assert created["Version"] == "1" and created["State"] == "Pending", created
    arn = client.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1")
    one = client.get_function(FunctionName=name, Qualifier="1")
    configuration = one["Configuration"]
    assert configuration["FunctionArn"] == f"{arn}:1" and configuration["Version"] == "1", configuration
    assert configuration["State"] == "Active" and configuration["Description"] == "all"
    assert configuration["SnapStart"]["ApplyOn"] == "PublishedVersions"
    assert one["Tags"] == {"team": "a"}
    latest = client.get_function_configuration(FunctionName=name)
    assert latest["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    assert latest["RevisionId"] != configuration["RevisionId"]

    again = client.publish_version(FunctionName=name, Description="not looked at: nothing changed")
    assert again["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert again["Version"] == "1" and again["Description"] == "all" and again["State"] == "Active", again

    client.update_function_code(FunctionName=name, ZipFile=code_that_says("second"))
    latest = client.get_function_configuration(FunctionName=name)
    refused(
        "InvalidParameterValueException", 400,
        f"CodeSHA256 (wrong) is different from current CodeSHA256 in $LATEST ({latest['CodeSha256']}). "
        "Please try again with the CodeSHA256 in $LATEST.",
        client.publish_version, FunctionName=name, CodeSha256="wrong",
    )
    stale = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API"
    refused("PreconditionFailedException", 412, stale, client.publish_version, FunctionName=name, RevisionId="wrong")
    two = client.publish_version(
        FunctionName=name, Description="two", CodeSha256=latest["CodeSha256"], RevisionId=latest["RevisionId"]
    )
    assert two["Version"] == "2" and two["FunctionArn"] == f"{arn}:2" and two["Description"] == "two", two
    assert two["State"] == "Pending" and two["StateReasonCode"] == "Creating" and "LastUpdateStatus" not in two
    three = client.update_function_code(FunctionName=name, ZipFile=code_that_says("third"), Publish=True)
    assert three["Version"] == "3" and three["FunctionArn"] == f"{arn}:3", three
    client.update_function_configuration(FunctionName=name, Environment={"Variables": {"MODE": "m2"}})

    # Two nodes that make two snapshots each may take longer than the answers wait.
    for version in ["2", "3"]:
        client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier=version)

    # A published version is what it was: its code and its configuration.
    for version, word, mode in [("1", "first", "m1"), ("2", "second", "m1"), ("3", "third", "m1"), ("$LATEST", "third", "m2")]:
        answer = client.invoke(FunctionName=name, Qualifier=version)
        body = payload(answer)
        assert answer["ExecutedVersion"] == version, answer
        assert (body["version"], body["mode"], body["arn"]) == (word, mode, f"{arn}:{version}"), body
        location = client.get_function(FunctionName=f"{name}:{version}")["Code"]["Location"]
        with urllib.request.urlopen(location) as response:
            assert f'"{word}"' in zipfile.ZipFile(io.BytesIO(response.read())).read("app.py").decode()
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name, PaginationConfig={"PageSize": 3})
    pages = [[item["Version"] for item in page["Versions"]] for page in pages]
    assert pages == [["$LATEST", "1", "2"], ["3"]], pages
    everything = client.get_paginator("list_functions").paginate(FunctionVersion="ALL", PaginationConfig={"PageSize": 2})
    everything = [item["FunctionArn"] for page in everything for item in page["Functions"] if item["FunctionName"] == name]
    assert everything == [f"{arn}:{version}" for version in ["$LATEST", "1", "2", "3"]], everything
    for call in [client.get_function, client.get_function_configuration, client.invoke]:
        refused("ResourceNotFoundException", 404, f"Function not found: {arn}:9", call, FunctionName=name, Qualifier="9")
    refused("ResourceNotFoundException", 404, f"{arn}:1", client.update_function_code, FunctionName=f"{name}:1", ZipFile=code_that_says("x"))

    aliases(name, arn)
    deleted = client.delete_function(FunctionName=name, Qualifier="2")
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.delete_function(FunctionName=name, Qualifier="2")
    refused("ResourceNotFoundException", 404, f"Function not found: {arn}:2", client.invoke, FunctionName=name, Qualifier="2")
    refused("InvalidParameterValueException", 400, "$LATEST version cannot be deleted", client.delete_function, FunctionName=name, Qualifier="$LATEST")
    assert payload(client.invoke(FunctionName=name, Qualifier="3"))["version"] == "third"
    client.delete_function(FunctionName=name)
    refused("ResourceNotFoundException", 404, f"Function not found: {arn}:1", client.invoke, FunctionName=name, Qualifier="1")


def aliases(name, arn):
    for bad, text in [
        (dict(Name="7", FunctionVersion="1"), "Value '7' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: (?!^[0-9]+$)([a-zA-Z0-9-_]+)"),
        (dict(Name="a", FunctionVersion="one"), "at 'functionVersion'"),
    ]:
        refused("ValidationException", 400, text, client.create_alias, FunctionName=name, **bad)
    refused("ResourceNotFoundException", 404, f"Function not found: {arn}:9", client.create_alias, FunctionName=name, Name="live", FunctionVersion="9")
    live = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", Description="what users see")
    assert live["ResponseMetadata"]["HTTPStatusCode"] == 201
    revision = live.pop("RevisionId")
    live.pop("ResponseMetadata")
    assert live == {"AliasArn": f"{arn}:live", "Name": "live", "FunctionVersion": "1", "Description": "what users see"}, live
    refused("ResourceConflictException", 409, f"Alias already exists: {arn}:live", client.create_alias, FunctionName=name, Name="live", FunctionVersion="1")
    refused("ResourceNotFoundException", 404, f"Cannot find alias arn: {arn}:dead", client.get_alias, FunctionName=name, Name="dead")
    refused("ResourceNotFoundException", 404, f"Alias not found: {arn}:dead", client.update_alias, FunctionName=name, Name="dead")
    answer = client.invoke(FunctionName=name, Qualifier="live")
    assert answer["ExecutedVersion"] == "1"
    body = payload(answer)
    assert body["version"] == "first" and body["arn"] == f"{arn}:live", body
    got = client.get_function(FunctionName=name, Qualifier="live")["Configuration"]
    assert got["FunctionArn"] == f"{arn}:live" and got["Version"] == "1"

    refused("PreconditionFailedException", 412, "The Revision Id provided", client.update_alias, FunctionName=name, Name="live", RevisionId="wrong")
    for weights, code, text in [
        ({"2": 0.5, "3": 0.5}, "InvalidParameterValueException", "Number of items in AdditionalVersionWeights cannot be greater than 1"),
        ({"1": 0.5}, "InvalidParameterValueException", "Invalid function version 1. Function version 1 is already included in routing configuration."),
        ({"9": 0.5}, "ResourceNotFoundException", f"Function not found: {arn}:9"),
        ({"2": 1.5}, "ValidationException", "Map value must satisfy constraint: [Member must have value less than or equal to 1.0"),
    ]:
        status = 404 if code.startswith("Resource") else 400
        refused(code, status, text, client.update_alias, FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": weights})
    split = client.update_alias(
        FunctionName=name, Name="live", RevisionId=revision, RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}}
    )
    assert split["RoutingConfig"] == {"AdditionalVersionWeights": {"2": 1.0}} and split["RevisionId"] != revision
    assert split["Description"] == "what users see" and split["FunctionVersion"] == "1"
    assert client.invoke(FunctionName=name, Qualifier="live")["ExecutedVersion"] == "2"
    referenced = "Unable to delete version because the following aliases reference it: [live]"
    for version in ["1", "2"]:
        refused("ResourceConflictException", 409, referenced, client.delete_function, FunctionName=name, Qualifier=version)
    moved = client.update_alias(FunctionName=name, Name="live", FunctionVersion="3", RoutingConfig={"AdditionalVersionWeights": {}})
    assert moved["FunctionVersion"] == "3" and "RoutingConfig" not in moved
    assert client.invoke(FunctionName=f"{name}:live")["ExecutedVersion"] == "3"

    client.create_alias(FunctionName=name, Name="dev", FunctionVersion="$LATEST")
    refused(
        "InvalidParameterValueException", 400, "$LATEST is not supported for an alias pointing to more than 1 version",
        client.update_alias, FunctionName=name, Name="dev", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}},
    )
    assert payload(client.invoke(FunctionName=name, Qualifier="dev"))["mode"] == "m2"
    pages = client.get_paginator("list_aliases").paginate(FunctionName=name, PaginationConfig={"PageSize": 1})
    assert [[alias["Name"] for alias in page["Aliases"]] for page in pages] == [["dev"], ["live"]]
    assert [alias["Name"] for alias in client.list_aliases(FunctionName=name, FunctionVersion="3")["Aliases"]] == ["live"]
    refused("InvalidParameterValueException", 400, "Deletion of aliases is not currently supported.", client.delete_function, FunctionName=name, Qualifier="dev")
    for alias in ["dev", "live", "live"]:
        assert client.delete_alias(FunctionName=name, Name=alias)["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("ResourceNotFoundException", 404, f"Function not found: {arn}:live", client.invoke, FunctionName=name, Qualifier="live")


def bad_requests():
    name = f"bad-{run}"
    good = zip_of(SOURCE.read_text())
    ordinary = dict(FunctionName=name, Role=ROLE, Runtime=RUNTIME, Handler="app.handler", Code={"ZipFile": good})

    def create_refused(code, text, status=400, **change):
        refused(code, status, text, client.create_function, **{**ordinary, **change})

    value = "InvalidParameterValueException"
    create_refused(value, "Could not unzip uploaded file. Please check your file, then try to upload again.", Code={"ZipFile": b"no zip"})
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in range(5):
            archive.writestr(f"zeros{part}", bytes(60_000_000))
    create_refused(value, "Unzipped size must be smaller than 262144000 bytes", Code={"ZipFile": bomb.getvalue()})
    create_refused(value, "unsafe name: ../evil", Code={"ZipFile": zip_of("x", "../evil")})
    create_refused(value, "unsafe name: /etc/evil", Code={"ZipFile": zip_of("x", "/etc/evil")})
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    create_refused(value, "leads out of the function's code: link -> /etc/passwd", Code={"ZipFile": zip_of("/etc/passwd", link)})
    create_refused(value, "S3", Code={"S3Bucket": "bucket", "S3Key": "key"})
    create_refused(value, "container images", Code={"ImageUri": "1.dkr.ecr.us-east-1.amazonaws.com/x"}, PackageType="Image")
    create_refused(value, "Value cobol at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [", Runtime="cobol")
    create_refused(value, "exceeded the 4KB limit", Environment={"Variables": {"BIG": "x" * 4096}})
    create_refused(value, "reserved keys", Environment={"Variables": {"AWS_REGION": "x"}})
    create_refused("ValidationException", "at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900", Timeout=901)
    create_refused("ValidationException", "at 'memorySize'", MemorySize=20000)
    create_refused("ValidationException", "1 validation error detected: Value 'r1' at 'role' failed to satisfy", Role="r1")
    create_refused("ValidationException", "1 validation error detected: Value 'a b' at 'functionName' failed", FunctionName="a b")
    create_refused(
        "RequestEntityTooLargeException", "Request must be smaller than 70167211 bytes for the CreateFunction operation",
        status=413, Code={"ZipFile": os.urandom(53_000_000)},
    )
    refused("ResourceNotFoundException", 404, "Function not found", client.get_function, FunctionName=name)


for step in [lifecycle, versions, lists, bad_requests]:
    step()
    print(f"boto3: {step.__name__} ok", flush=True)
print("boto3: ok")
sys.exit(0)
