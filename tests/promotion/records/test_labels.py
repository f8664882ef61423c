"""The label of a name ends at the index's current entry; the label of a version stays."""

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import LABEL
from atdata_core.errors import DatasetNameError, PreflightError, RecordChangedError
from atdata_core.promote import plan_promotion, promote_to_atmosphere
from atdata_core.promotion.operations.retract import plan_retraction, retract
from atdata_core.promotion.scheduling.due import due
from atdata_core.promotion.stages.copy_stage import copy_shards
from atdata_core.promotion.stages.inventory_stage import take_inventory
from atdata_core.promotion.stages.schema_stage import publish_schema
from atdata_core.state.index_state import state_of
from stages import publish_last


@pytest.fixture
def labels(atmosphere):
    """What the labels point at, by version."""

    def read():
        return {label.value.get("version"): label.value["datasetUri"] for label in atmosphere.records(LABEL)}

    return read


@pytest.fixture
def ready(lab, atmosphere):
    """Walk the first three stages; the last one is called later."""
    ledger = state_of(lab.index).ledger

    def prepare(entry):
        inventory = take_inventory(entry, lab.index, ledger)
        schema = publish_schema(inventory.schema, atmosphere.client, ledger)
        copies = copy_shards(entry, inventory, lab.index, ledger)

        def finish(client=atmosphere.client):
            return publish_last(entry, copies, schema.uri, lab.index, client, ledger)

        return finish

    return prepare


def test_two_versions_that_finish_in_reverse_order_leave_the_label_at_the_newer(lab, atmosphere, ready, labels):
    finish_old = ready(lab.insert("points"))
    newer = lab.insert("points", start=50)
    finish_new = ready(newer)
    new, old = finish_new(), finish_old()
    assert (new.label_change, old.label_change, old.label_uri) == ("created", "unchanged", None)
    assert "newer entry" in old.note
    assert labels() == {None: new.uri}
    # The older result does not hide that the current entry is published.
    assert due(newer, lab.index, state_of(lab.index).ledger, atmosphere.client.did).state == "published"


def test_an_older_version_alone_sets_no_label_and_the_newer_one_does(lab, ready, labels):
    finish_old = ready(lab.insert("points"))
    finish_new = ready(lab.insert("points", start=50))
    assert finish_old().label_uri is None
    assert labels() == {}
    new = finish_new()
    assert labels() == {None: new.uri}


@pytest.mark.parametrize("labelled_before", [False, True])
def test_a_label_written_late_never_moves_back(lab, atmosphere, account, ready, labels, labelled_before, closing):
    if labelled_before:
        ready(lab.insert("points", start=100))()
    finish_old = ready(lab.insert("points"))
    newest = []

    class Overtaken(httpx.HTTPTransport):
        def handle_request(self, request):
            is_label = request.url.path.endswith("putRecord") and LABEL.encode() in request.content
            if is_label and not newest:
                newest.append(None)
                newest[0] = ready(lab.insert("points", start=50))().uri
            return super().handle_request(request)

    client = AtmosphereClient(atmosphere.client.base_url, transport=closing(Overtaken()))
    client.login(account.handle, account.password)
    result = finish_old(client)
    assert labels() == {None: newest[0]}
    assert result.label_uri is None


def test_a_version_makes_a_second_label_that_stays(lab, atmosphere, labels):
    old = lab.insert("points")
    plan = plan_promotion(old, lab.index, atmosphere.client, version="1.0.0")
    assert (plan.version_label, plan.write_points) == ("create", 8)
    first = promote_to_atmosphere(old, lab.index, atmosphere.client, version="1.0.0")
    assert labels() == {None: first, "1.0.0": first}
    commit = atmosphere.commit
    promote_to_atmosphere(old, lab.index, atmosphere.client, version="1.0.0")
    assert atmosphere.commit == commit
    new = lab.insert("points", start=50)
    second = promote_to_atmosphere(new, lab.index, atmosphere.client)
    assert labels() == {None: second, "1.0.0": first}
    assert promote_to_atmosphere(old, lab.index, atmosphere.client, version="1.0.0") == first
    assert labels() == {None: second, "1.0.0": first}


def test_a_version_stands_for_one_entry_unless_it_is_taken_over(lab, atmosphere, labels):
    first = promote_to_atmosphere(lab.insert("points"), lab.index, atmosphere.client, version="1.0.0")
    new = lab.insert("points", start=50)
    commit = atmosphere.commit
    with pytest.raises(RecordChangedError, match=r"'1\.0\.0' of 'points' is at://.*versions stay"):
        promote_to_atmosphere(new, lab.index, atmosphere.client, version="1.0.0")
    assert atmosphere.commit == commit
    assert labels() == {None: first, "1.0.0": first}
    second = promote_to_atmosphere(new, lab.index, atmosphere.client, version="1.0.0", take_over=True)
    assert labels() == {None: second, "1.0.0": second}


def test_a_version_that_the_network_would_refuse_is_found_before_anything_is_written(lab, atmosphere):
    with pytest.raises(PreflightError, match="version"):
        promote_to_atmosphere(lab.insert(), lab.index, atmosphere.client, version="1" * 200)
    assert atmosphere.counts == [0, 0, 0]


def test_the_published_name_of_another_dataset_is_not_taken_unless_it_is_asked_for(lab, atmosphere, labels):
    owner, other = lab.insert("points"), lab.insert("dots", start=50)
    uri = promote_to_atmosphere(owner, lab.index, atmosphere.client)
    commit = atmosphere.commit
    for refused in (plan_promotion, promote_to_atmosphere):
        with pytest.raises(DatasetNameError, match=r"'points' is the published name of the dataset 'points'.*dots"):
            refused(other, lab.index, atmosphere.client, name="points", tags=["a"])
    assert atmosphere.commit == commit
    assert labels() == {None: uri}
    assert promote_to_atmosphere(owner, lab.index, atmosphere.client) == uri
    taken = promote_to_atmosphere(other, lab.index, atmosphere.client, name="points", take_over=True)
    assert labels() == {None: taken}
    with pytest.raises(DatasetNameError, match="of the dataset 'dots'"):
        promote_to_atmosphere(owner, lab.index, atmosphere.client)
    assert promote_to_atmosphere(owner, lab.index, atmosphere.client, name="more-points").startswith("at://")


def test_a_retracted_name_is_free_for_another_dataset(lab, atmosphere, labels):
    owner, other = lab.insert("points"), lab.insert("dots", start=50)
    ledger = state_of(lab.index).ledger
    promote_to_atmosphere(owner, lab.index, atmosphere.client)
    plan = plan_retraction("points", atmosphere.client, ledger=ledger, index=lab.index)
    retract(plan, atmosphere.client, ledger, index=lab.index)
    uri = promote_to_atmosphere(other, lab.index, atmosphere.client, name="points")
    assert labels() == {None: uri}
    assert promote_to_atmosphere(other, lab.index, atmosphere.client, name="points") == uri
