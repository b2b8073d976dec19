"""Pages: whole, without repetition, over restarts, and for whom they were made."""

from awaitable_client import Awaitable


async def test_all_pages_together_are_the_whole(ec2, launch):
    ids = set(await launch(12))
    pages = []
    token = {}
    while True:
        answer = await ec2.describe_instances(MaxResults=5, **token)
        pages.append([one["InstanceId"] for group in answer["Reservations"] for one in group["Instances"]])
        if "NextToken" not in answer:
            break
        token = {"NextToken": answer["NextToken"]}
    assert [len(page) for page in pages] == [5, 5, 2]
    assert {id_ for page in pages for id_ in page} == ids
    whole = await ec2.all("describe_instance_types")
    assert len(whole["InstanceTypes"]) > 500


async def test_tokens_outlive_the_gateway_and_serve_only_whom_and_what_they_were_made_for(cloud, ec2, launch):
    await launch(6)
    first = await ec2.describe_instances(MaxResults=5)
    token = first["NextToken"]
    await cloud.stop_gateway()
    await cloud.start_gateway()
    again = Awaitable(cloud.client("ec2"))
    second = await again.describe_instances(MaxResults=5, NextToken=token)
    assert len(second["Reservations"][0]["Instances"]) == 1
    assert await again.describe_instances(MaxResults=6, NextToken=token)

    stranger = Awaitable(cloud.client("ec2", credentials=cloud.add_account("000000000002")))
    filtered = {"Filters": [{"Name": "instance-state-name", "Values": ["running"]}]}
    for client, operation, params in (
        (again, "describe_instances", filtered),
        (again, "describe_instance_status", {}),
        (stranger, "describe_instances", {}),
        (again, "describe_instances", {"NextToken": token[:-4] + "AAAA"}),
    ):
        refused = await client.refusal(operation, **{"MaxResults": 5, "NextToken": token, **params})
        assert refused == ("InvalidPaginationToken", 400)


async def test_instances_that_end_between_two_pages_disturb_nothing(cloud, ec2, launch):
    ids = sorted(await launch(8))
    first = await ec2.describe_instances(MaxResults=5)
    seen = [one["InstanceId"] for one in first["Reservations"][0]["Instances"]]
    assert seen == ids[:5]
    await ec2.terminate_instances(InstanceIds=[ids[4]])
    await cloud.settled()
    second = await ec2.describe_instances(MaxResults=5, NextToken=first["NextToken"])
    assert [one["InstanceId"] for one in second["Reservations"][0]["Instances"]] == ids[5:]
