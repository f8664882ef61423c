"""What programs written for the package ``atdata`` 0.2 ask for is there under its names."""

import inspect
import subprocess
import sys

import pytest

import atdata_core
from atdata_core.errors import NotLoggedInError


def ran(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_atdata_alone_reaches_its_modules_and_names():
    # Over a second: a fresh process, which has loaded none of them.
    assert (
        ran(
            "import atdata, sys; print('httpx' in sys.modules, 'boto3' in sys.modules, 'redis' in sys.modules);"
            "print(atdata.atmosphere.AtmosphereClient.__name__, atdata.Index.__name__);"
            "print(atdata.dataset.Dataset.__name__, atdata.promote_to_atmosphere.__name__)"
        )
        == "False False False\nAtmosphereClient LocalIndex\nDataset promote_to_atmosphere\n"
    )


def test_names_that_are_loaded_when_they_are_asked_for_are_listed_before():
    # Over a second: a fresh process, which has loaded none of them.
    assert (
        ran(
            "import atdata_core, sys; local, atmosphere = atdata_core.local, atdata_core.atmosphere;"
            "every = atdata_core, local, atmosphere, atdata_core.samples, atdata_core.shards, atdata_core.stores;"
            "print([each.__name__ for each in every if not {*each.__all__, '__all__'} <= set(dir(each))]);"
            "print('numpy' in sys.modules, 'boto3' in sys.modules, 'redis' in sys.modules);"
            "print(atdata_core.shards.dataset.Dataset.__name__, atdata_core.stores.opening.open_shard.__name__);"
            "print([name for each in every for name in each.__all__ if not hasattr(each, name)])"
        )
        == "[]\nFalse False False\nDataset open_shard\n[]\n"
    )


def test_lens_stays_a_decorator_also_where_its_module_is_imported():
    program = (
        "import atdata.lens; from atdata.lens import Lens, LensNetwork, lens; import atdata.dataset;"
        "print(atdata.lens is lens, atdata.Lens is Lens, atdata.dataset.Dataset is atdata.Dataset)"
    )
    assert ran(program) == "True True True\n"


def test_names_of_private_modules_are_found_where_programs_take_them_from():
    from atdata_core.former_names import clear_type_cache, generate_cid, parse_cid, schema_to_type, verify_cid

    assert ran(
        "from atdata._cid import generate_cid; from atdata._protocols import IndexEntry; print(IndexEntry);"
        "from atdata._sources import URLSource; from atdata import schema_to_type, verify_cid, BlobSource"
    )
    cid = generate_cid({"name": "n"})
    assert verify_cid(cid, {"name": "n"})
    assert not verify_cid(cid, {"name": "m"})
    assert parse_cid(cid)["codec"] == 0x71
    with pytest.raises(ValueError, match="Failed to encode"):
        generate_cid({"ratio": 0.5})
    field = {"name": "n", "fieldType": {"$type": "local#primitive", "primitive": "int"}, "optional": False}
    maybe = {**field, "name": "maybe", "optional": True}
    row = {"name": "Row", "version": "1.0.0", "fields": [maybe, field]}
    made = schema_to_type(row)
    assert schema_to_type(row) is made
    assert schema_to_type({**row, "version": "2.0.0"}) is not made
    assert schema_to_type(row, use_cache=False) is not made
    clear_type_cache()
    assert (made(n=1).n, made(n=1).maybe) == (1, None)


def test_all_names_can_be_imported():
    assert {name for name in atdata_core.__all__ if not hasattr(atdata_core, name)} == set()
    with pytest.raises(AttributeError, match="nothing"):
        atdata_core.nothing  # noqa: B018


def test_sample_types_are_packable():
    @atdata_core.packable
    class Row:
        n: int

    assert isinstance(Row(n=1), atdata_core.Packable)
    assert not isinstance(object(), atdata_core.Packable)


def test_who_catches_a_value_error_catches_that_nobody_is_logged_in():
    client = atdata_core.atmosphere.AtmosphereClient("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="Nobody is logged in") as caught:
        client.create_record("science.alt.dataset.entry", {})
    assert isinstance(caught.value, NotLoggedInError)


def test_a_promotion_takes_its_arguments_by_either_name():
    client = atdata_core.atmosphere.AtmosphereClient("http://127.0.0.1:9")
    named = {"local_entry": None, "local_index": None, "atmosphere_client": client}
    with pytest.raises(TypeError, match="unexpected keyword argument 'client'"):
        atdata_core.promote_to_atmosphere(**named, client=client)
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        atdata_core.promote_to_atmosphere(**named, nothing=1)
    assert list(inspect.signature(atdata_core.promote_to_atmosphere).parameters)[:3] == ["entry", "index", "client"]
