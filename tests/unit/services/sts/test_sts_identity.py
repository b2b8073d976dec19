async def test_the_caller(cloud):
    assert await cloud.call("sts", "GetCallerIdentity") == {
        "Account": "000000000001",
        "Arn": "arn:aws:iam::000000000001:root",
        "UserId": "000000000001",
    }
    assert (await cloud.of("000000000002").call("sts", "GetCallerIdentity"))["Account"] == "000000000002"
