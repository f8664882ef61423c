"""The files of a tar, one by one."""

from atdata_core.shards.tar import member_runs


def read_members(stream, *, url):
    for names, contents in member_runs(stream, url=url):
        yield from zip(names, contents, strict=True)
