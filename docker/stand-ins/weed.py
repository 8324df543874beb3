#!/usr/bin/env python3
"""Replace `weed mini` by moto's S3 server, which keeps objects in memory, and create the buckets named in S3_BUCKET."""

import os
import subprocess
import sys
import time

import boto3
from botocore.exceptions import EndpointConnectionError

PORT = 8333


def main() -> None:
    options = dict(a.lstrip("-").partition("=")[::2] for a in sys.argv[1:])
    address = options.get("ip.bind", "0.0.0.0")
    server = subprocess.Popen(["moto_server", "--host", address, "--port", str(PORT)])
    s3 = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{PORT}", region_name="us-east-1")
    for bucket in os.environ["S3_BUCKET"].split(","):
        while server.poll() is None:
            try:
                s3.create_bucket(Bucket=bucket)
                break
            except EndpointConnectionError:
                time.sleep(0.2)
    sys.exit(server.wait())


if __name__ == "__main__":
    main()
