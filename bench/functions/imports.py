"""A function with the imports of one that talks to AWS: boto3 with a client if it is there, else as much of the
standard library."""

import http.client
import json
import logging
import time

try:
    import boto3

    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
    )
    loaded = "boto3"
except ImportError:
    import asyncio
    import concurrent.futures
    import ctypes
    import decimal
    import email.mime.multipart
    import multiprocessing
    import sqlite3
    import ssl
    import unittest.mock
    import urllib.request
    import xml.dom.minidom
    import xml.etree.ElementTree

    client = ssl.create_default_context()
    loaded = "standard library"

logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    if "hold_ms" in event:
        time.sleep(event["hold_ms"] / 1000)
    return {"greeting": f"Hello, {event['name']}!", "loaded": loaded}
