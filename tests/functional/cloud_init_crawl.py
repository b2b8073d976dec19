"""Run by the system's Python, which has cloud-init: crawls a metadata service with cloud-init's own Ec2 data source.

Prints as JSON what it found. Argument: the service's address.
"""

import base64
import json
import sys

from cloudinit import helpers
from cloudinit.sources import DataSourceEc2

address = sys.argv[1]
config = {"datasource": {"Ec2": {"metadata_urls": [address], "max_wait": 10, "timeout": 5}}}
source = DataSourceEc2.DataSourceEc2(config, None, helpers.Paths({}))
source._cloud_name = "aws"  # what it would read from the SMBIOS of a guest
crawled = source.crawl_metadata()
source.metadata = crawled["meta-data"]
source.identity = crawled["dynamic"]["instance-identity"]["document"]
crawled["user-data"] = base64.b64encode(crawled["user-data"]).decode()
json.dump(
    {
        "crawled": crawled,
        "token": bool(source._api_token),
        "version": source.get_metadata_api_version(),
        "instance_id": source.get_instance_id(),
        "zone": source.availability_zone,
        "region": source.region,
        "keys": source.get_public_ssh_keys(),
        "classic": source.is_classic_instance(),
    },
    sys.stdout,
)
