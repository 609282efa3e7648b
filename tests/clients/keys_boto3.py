"""Asks for the functions at AWS_ENDPOINT_URL, once signed as the environment says and once not signed at all.

Prints the error code of each, or "ok".
"""

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError


def ask(**more):
    try:
        boto3.client("lambda", config=Config(retries={"total_max_attempts": 1}, **more)).list_functions()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "ok"


print(f"signed: {ask()}, unsigned: {ask(signature_version=UNSIGNED)}")
