"""An entry that somebody changed in Redis under its CID does not put its data under the record of others."""

import msgpack
import pytest

from atdata_core.errors import StorageError
from atdata_core.local.entry import StoredEntry

pytestmark = pytest.mark.filterwarnings("ignore::atdata_core.errors.NotPublicWarning")


def test_a_published_record_keeps_its_data_where_the_urls_of_its_entry_were_changed(lab, publish, atmosphere):
    theirs, ours = lab.insert("theirs"), lab.insert("ours", start=50)
    uri = publish(ours)
    before = atmosphere.client.get_record(uri)
    redis, changed = lab.index.redis, StoredEntry(ours.schema_ref, theirs.data_urls, None)
    redis.hset("atdata:dataset:ours", f"entry:{ours.cid}", changed.to_record(registered_at=1))
    redis.hset(f"LocalDatasetEntry:{ours.cid}", "data_urls", msgpack.packb(theirs.data_urls))

    with pytest.raises(StorageError, match="names other data than its CID stands for"):
        publish(lab.index.get_entry_by_name("ours"), license="MIT")
    assert atmosphere.client.get_record(uri).cid == before.cid
