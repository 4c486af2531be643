"""The profile: given > `ensure_client` > environment > file > EARTHENGINE_PROJECT > default, and a connection alone."""

import logging
import stat

import ee
import pytest

from flows import adhoc
from flows.command_line import run
from flows.parameters import AuditParameters, RegionParameters
from flows.profile import from_file, lines, path, shown_path, with_client
from flows.region import extract_region
from tasks.earthengine.connection import HIGH_VOLUME, Connection, ensure_client, start_client
from tasks.errors.input import BadInputError, InputError
from tests.given import bare

SAVED, OTHER = "earth-engine-connection/saved", "earth-engine-connection/other"
LOCAL = "http://127.0.0.1:9080"
ABOUT = {"image": "a/b", "scale": 30}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("EARTHENGINE_PROJECT", "EARTHENGINE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    ee.Reset()


def shown(capsys, *words):
    """What the command prints."""
    run(["profile", *words])
    return capsys.readouterr().out.splitlines()


def write(text):
    path().parent.mkdir(exist_ok=True)
    path().write_text(text)


def write_values(values):
    write("".join(f'{name} = "{value}"\n' for name, value in values.items()))


def set_variables(monkeypatch, values):
    for name, value in values.items():
        monkeypatch.setenv(f"PIXEL_QUARRY_{name.upper()}", value)


def values(parameters):
    advanced = parameters.advanced
    found = {"output": parameters.output, "connection": parameters.connection}
    found |= {name: getattr(advanced, name) for name in ("project", "endpoint", "credentials_file")}
    return {name: value for name, value in found.items() if value not in (None, "output")}


def given_as(given):
    return AuditParameters.nested(given)


@pytest.mark.parametrize(
    ("given", "environment", "file", "expected"),
    [
        ({}, {}, {}, {}),
        ({}, {}, {"output": "/f", "project": "of-the-file"}, {"output": "/f", "project": "of-the-file"}),
        ({}, {"output": "/e"}, {"output": "/f", "project": "of-the-file"}, {"output": "/e", "project": "of-the-file"}),
        ({"output": "/g"}, {"output": "/e"}, {"output": "/f"}, {"output": "/g"}),
        ({"project": "given-one"}, {"project": "of-the-env"}, {}, {"project": "given-one"}),
        ({"project": ""}, {"project": "of-the-env"}, {}, {"project": "of-the-env"}),
        ({}, {"project": "of-the-env"}, {"project": "of-the-file"}, {"project": "of-the-env"}),
        ({}, {"project": ""}, {"project": "of-the-file"}, {"project": "of-the-file"}),
        ({}, {}, {"connection": SAVED}, {"connection": SAVED}),
        ({"connection": ""}, {}, {"connection": SAVED}, {"connection": SAVED}),
        ({"connection": OTHER}, {}, {"connection": SAVED}, {"connection": OTHER}),
        ({"connection": OTHER}, {}, {"project": "of-the-file"}, {"connection": OTHER}),
        ({"project": "given-one"}, {}, {"connection": SAVED}, {"project": "given-one"}),
        ({"endpoint": LOCAL}, {}, {"connection": SAVED}, {"endpoint": LOCAL}),
        ({"credentials_file": "/key"}, {}, {"connection": SAVED}, {"credentials_file": "/key"}),
        ({"endpoint": LOCAL}, {}, {"project": "of-the-file"}, {"endpoint": LOCAL, "project": "of-the-file"}),
        ({}, {"project": "of-the-env"}, {"connection": SAVED}, {"project": "of-the-env"}),
        ({}, {"connection": SAVED}, {"project": "of-the-file"}, {"connection": SAVED}),
    ],
)
def test_what_is_given_comes_first_then_the_environment_then_the_file(monkeypatch, given, environment, file, expected):
    set_variables(monkeypatch, environment)
    write_values(file)
    read = AuditParameters.read(given_as(given))
    assert values(read) == expected
    assert values(AuditParameters.read(read.given())) == expected  # a run reads its parameters again


def test_a_connection_of_the_file_does_not_apply_where_the_environment_names_an_endpoint(monkeypatch):
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", LOCAL)
    write_values({"connection": SAVED})
    assert values(AuditParameters.read({})) == {}
    monkeypatch.setenv("PIXEL_QUARRY_CONNECTION", OTHER)
    assert values(AuditParameters.read({})) == {"connection": OTHER}


def test_the_file_comes_before_the_variable_of_earth_engine(monkeypatch):
    monkeypatch.setenv("EARTHENGINE_PROJECT", "of-earth-engine")
    assert AuditParameters.read({}).connect().connection.project == "of-earth-engine"
    write_values({"project": "of-the-file"})
    assert AuditParameters.read({}).connect().connection.project == "of-the-file"


def test_models_that_are_made_directly_know_no_profile(monkeypatch):
    set_variables(monkeypatch, {"output": "/e", "project": "of-the-env"})
    assert values(AuditParameters.model_validate({})) == {}


def test_an_advanced_value_that_is_a_model_is_filled_in_too(monkeypatch):
    set_variables(monkeypatch, {"project": "of-the-env"})
    advanced = RegionParameters.read({**ABOUT, "advanced": {"tile_size": 64}}, ()).advanced
    filled = RegionParameters.read({**ABOUT, "advanced": advanced}).advanced
    assert (filled.tile_size, filled.project) == (64, "of-the-env")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('output = "ftp://a"', "In {path}: output = 'ftp://a': nothing can be written to ftp://"),
        ("output = 3", "In {path}: output = 3: should be a valid string. Where files go"),
        ('project = "P"', "In {path}: project = 'P': not a Google Cloud project id"),
        ('connection = "mine"', f"In {{path}}: connection = 'mine': should be {SAVED.partition('/')[0]}/name"),
        (f'connection = "{SAVED}"\nproject = "my-project"', "In {path}: project = 'my-project': the connection"),
        ("token = 3", "In {path}: token = '(not shown)': no such parameter. Known parameters: connection, output, pro"),
        ("output = output", "{path}: the profile cannot be read (Invalid value (at line 1, column 10)). Write lines"),
        ('output = "ya29.abcdefghijklmnopqrstuvwxyz"', "In {path}: output = '(not shown)': holds what looks like"),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_its_name(text, message):
    write(text)
    with pytest.raises(InputError) as caught:
        AuditParameters.read({})
    assert str(caught.value).startswith(message.format(path=shown_path()))
    assert "ya29" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named():
    path().mkdir(parents=True)
    with pytest.raises(InputError, match=r"profile\.toml: the profile cannot be read"):
        AuditParameters.read({})


def test_a_variable_that_is_wrong_is_refused(monkeypatch):
    set_variables(monkeypatch, {"project": "P"})
    with pytest.raises(InputError, match=r"In the environment \(PIXEL_QUARRY_\.\.\.\): project = 'P': not a Google"):
        AuditParameters.read({})


def test_the_log_says_where_values_come_from(monkeypatch):
    set_variables(monkeypatch, {"output": "/e"})
    write_values({"output": "/f", "project": "of-the-file"})
    read = AuditParameters.read({})
    assert lines(read, read.origins) == [
        "From the environment (PIXEL_QUARRY_...): output = /e.",
        f"From {shown_path()}: project = of-the-file.",
    ]


def test_a_run_of_a_deployment_is_filled_in_where_it_runs(caplog, tmp_path):
    """It was called by no Python code: its function is the first to read its parameters."""
    write_values({"output": str(tmp_path / "of-the-file"), "project": "P"})
    state = bare(extract_region, **ABOUT)
    assert "project = 'P': not a Google Cloud project id" in state.message
    write_values({"output": str(tmp_path / "of-the-file")})
    with caplog.at_level(logging.INFO):
        state = bare(extract_region, **ABOUT)
    assert f"From {shown_path()}: output = {tmp_path}/of-the-file." in caplog.messages
    assert "project = None: Earth Engine needs a Google Cloud project" in state.message


def test_a_value_that_is_given_and_is_the_default_is_given(monkeypatch, prefect_server, sandbox_url, tmp_path):
    """Prefect's engine adds the defaults to the arguments of a call, so that the two can't be told apart there."""
    monkeypatch.chdir(tmp_path)
    set_variables(monkeypatch, {"output": str(tmp_path / "of-the-env"), "project": "my-project"})
    place = {"region": [-54.60, -25.30, -54.59, -25.29], "crs": "EPSG:32721", "scale": 30}
    result = extract_region(image="elevation", output="output", advanced={"endpoint": sandbox_url}, **place)
    assert result.output == str(tmp_path / "output")


def test_the_connection_of_ensure_client_counts_before_the_profile_and_only_whole(monkeypatch, sandbox_url):
    set_variables(monkeypatch, {"project": "of-the-env", "output": "/e"})
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", HIGH_VOLUME)
    opened = {"project": "of-the-client", "endpoint": sandbox_url}
    ensure_client(Connection(**opened))
    assert values(AuditParameters.read({}, with_client())) == {**opened, "output": "/e"}
    assert values(AuditParameters.read({})) == {"project": "of-the-env", "output": "/e"}  # of a flow that is no adhoc
    given = given_as({"endpoint": LOCAL})
    assert values(AuditParameters.read(given, with_client())) == {
        "endpoint": LOCAL,
        "project": "of-the-client",
        "output": "/e",
    }
    given = {"connection": SAVED}
    assert values(AuditParameters.read(given, with_client())) == {"connection": SAVED, "output": "/e"}


def test_the_key_of_a_client_goes_to_no_other_endpoint(monkeypatch, sandbox_url, tmp_path):
    key = tmp_path / "key.json"
    key.write_text("{}")
    opened = {"project": "of-the-client", "endpoint": sandbox_url, "credentials_file": str(key)}
    ensure_client(Connection(**opened))
    monkeypatch.setenv("EARTHENGINE_ENDPOINT", HIGH_VOLUME)
    assert values(AuditParameters.read({}, with_client())) == opened
    given = given_as({"endpoint": LOCAL})
    assert values(AuditParameters.read(given, with_client())) == {"endpoint": LOCAL, "project": "of-the-client"}


def test_a_connection_with_a_key_of_its_own_is_refused_and_one_from_a_block_is_its_block(sandbox_url):
    ensure_client(Connection(project="my-project", endpoint=sandbox_url, key=object()))
    with pytest.raises(InputError, match="Save it as a block"):
        with_client()
    ensure_client(Connection(project="my-project", endpoint=sandbox_url, key=object(), block=SAVED))
    assert values(AuditParameters.read({}, with_client())) == {"connection": SAVED}


def test_a_client_that_a_run_has_started_or_that_is_gone_does_not_count(sandbox_url):
    start_client(Connection(project="of-a-run", endpoint=sandbox_url))
    assert values(AuditParameters.read({}, with_client())) == {}
    ensure_client(Connection(project="my-project", endpoint=sandbox_url))
    ee.Reset()
    assert values(AuditParameters.read({}, with_client())) == {}


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://earthengine.googleapis.com", {"project": "of-ee"}),
        (HIGH_VOLUME, {"project": "of-ee"}),
        (LOCAL, {"project": "of-ee", "endpoint": LOCAL}),
        ("https://elsewhere.example", {}),
    ],
)
def test_the_project_of_ee_initialize_counts_last(monkeypatch, endpoint, expected):
    state = ee.data._get_state()
    monkeypatch.setattr(state, "initialized", True)
    monkeypatch.setattr(state, "cloud_api_user_project", "of-ee")
    monkeypatch.setattr(state, "cloud_api_base_url", endpoint)
    assert values(AuditParameters.read({}, with_client())) == expected
    monkeypatch.setenv("EARTHENGINE_PROJECT", "of-earth-engine")
    assert values(AuditParameters.read({}, with_client())) == {}
    write_values({"project": "of-the-file"})
    monkeypatch.delenv("EARTHENGINE_PROJECT")
    assert values(AuditParameters.read({}, with_client())) == {"project": "of-the-file"}


def test_without_any_of_them_the_message_names_what_counts():
    with pytest.raises(BadInputError, match=r"project = None: .*flows profile .*ensure_client\(\.\.\.\) or ee\.Init"):
        adhoc.region({"asset": "a/b"}, scale=30)


def test_the_command_keeps_and_shows_what_applies(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shown(capsys) == ["output = not set", "connection = not set", "project = not set"]
    origin = f"   # from {shown_path()}"
    first = [f"output = {tmp_path}/out{origin}", "connection = not set", f"project = my-project{origin}"]
    assert shown(capsys, "--output=out", "--project=my-project") == first
    assert shown(capsys) == first
    assert shown(capsys, f"--connection={SAVED}")[1:] == [f"connection = {SAVED}{origin}", "project = not set"]
    assert shown(capsys, "--output=gs://bucket/a")[0] == f"output = gs://bucket/a{origin}"
    assert shown(capsys, "--output=")[0] == "output = not set"
    monkeypatch.setenv("EARTHENGINE_PROJECT", "of-earth-engine")
    assert shown(capsys, "--connection=")[2] == "project = of-earth-engine   # from EARTHENGINE_PROJECT"
    set_variables(monkeypatch, {"project": "of-the-env"})
    assert shown(capsys)[2] == "project = of-the-env   # from the environment (PIXEL_QUARRY_...)"
    assert [file.name for file in path().parent.iterdir()] == ["profile.toml"]
    assert stat.S_IMODE(path().stat().st_mode) == 0o600


@pytest.mark.parametrize("value", ['a"b', "植被", "a'b", "a#b = c", "a b"])
def test_a_value_is_read_as_it_was_kept(capsys, tmp_path, value):
    shown(capsys, f"--output={tmp_path}/{value}")
    assert from_file().values == {"output": f"{tmp_path}/{value}"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--project=P"], "project = 'P': not a Google Cloud project id"),
        (["--project=my-project", f"--connection={SAVED}"], "project = 'my-project': the connection"),
        (["--endpoint=x"], "Unknown option: --endpoint."),
    ],
)
def test_the_command_refuses_what_no_run_could_use(capsys, words, message):
    with pytest.raises(SystemExit) as left:
        run(["profile", *words])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert not path().exists()
