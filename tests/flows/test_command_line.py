"""The command line: its options are the form's fields, its words the form's, its exit codes say what happened."""

import contextlib
import gc
import os
import pkgutil
import pty
import re
import signal
import subprocess
import sys
import tomllib

import pytest
from cyclopts import App, CycloptsError
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from deployments.sandbox.process import running
from flows.audit import audit_output
from flows.command_line import COMMANDS, FAILED, run
from flows.command_options import command, options
from flows.parameters import AuditParameters, ExtractionParameters, RegionParameters
from flows.region import RegionResult
from tasks.errors.input import InputError
from tasks.prefect_io.server import ServerAwayError, ServerRefusedError
from tasks.raster.decode import CorruptPixelsError
from tests.flows.conftest import heeding_interrupts, turn
from tests.given import parameters_of
from tests.migrated import ROOT

SCENE = "projects/sandbox/assets/landsat8_224078_20200518"
GIVEN = ["--image", "a/b", "--scale", "30"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODELS = {name: each.model() for name, each in COMMANDS.items()}


def parse(model, *arguments):
    """The parameters that a command line gives."""
    app = App(result_action="return_value", exit_on_error=False, print_error=False)
    app.default(command(model, lambda given: given))
    return app(arguments)


def leaves(*arguments):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        run(arguments)
    return left.value.code


def help_of(*words, capsys):
    run([*words, "--help"])
    return plain_help(capsys)


def plain_help(capsys):
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())


def test_the_command_line_says_the_same_as_the_form():
    image = ["--image", "ndvi", "--recipe-parameters", '{"red": "B3"}', "--as-of=2020-01-01"]
    more = ["--region=-1.5,2,3,4", "--scale", "30", "--bands", "B1,B2", "--requests-in-flight", "7", "--clip=yes"]
    assert parse(RegionParameters, *image, *more) == parameters_of(
        RegionParameters,
        image="ndvi",
        recipe_parameters={"red": "B3"},
        as_of="2020-01-01",
        region=[-1.5, 2, 3, 4],
        scale=30,
        bands=["B1", "B2"],
        requests_in_flight=7,
        clip="yes",
    )


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--bands", "B1", "--bands", "B2"], "bands", ["B1", "B2"]),
        (["--bands", '["B1", "B2"]'], "bands", ["B1", "B2"]),
        (["--region", "-54.60,-25.30,-54.55,-25.26"], "region", [-54.60, -25.30, -54.55, -25.26]),
        (["--region", '{"type": "Point"}'], "region", {"type": "Point"}),
        (["--region", "lake.gpkg"], "region", "lake.gpkg"),
        (["--bands", "1999,植被,B1"], "bands", ["1999", "植被", "B1"]),
        (["--bands", '["a,b", " c"]'], "bands", ["a,b", " c"]),
        (["--anchor=-15,15"], "anchor", (-15.0, 15.0)),
        (["--clip=no"], "clip", "no"),
        (["--recipe-parameters", "start=2020-01-01, max=3"], "recipe_parameters", {"start": "2020-01-01", "max": 3}),
        (["--plan-only"], "plan_only", True),
        (["--no-allow-failures"], "allow_failures", False),
        (["--output", "[out]"], "output", "[out]"),
    ],
)
def test_an_option_is_read_as_it_is_typed(words, field, value):
    image = ["--image=ndvi"] if field == "recipe_parameters" else ["--image=a/b"]
    given = parse(RegionParameters, *image, "--scale=30", *words)
    assert getattr(given if field in RegionParameters.model_fields else given.advanced, field) == value


@pytest.mark.parametrize("layer", ["wells", "007", "*", "a b", "null", "true", "[1]"])
def test_a_layer_is_text(layer):
    given = parse(RegionParameters, *GIVEN, "--region", "lake.gpkg", "--layer", layer)
    assert (given.region, given.advanced.layer) == ("lake.gpkg", layer)


def test_of_a_nested_form_each_field_is_an_option():
    words = ["--file-format=PNG", "--visualization.max=3", "--visualization.palette", "000000,00ff00"]
    assert parse(RegionParameters, *GIVEN, *words).advanced.visualization.options() == {
        "ranges": [{"min": 0.0, "max": 3.0}],
        "paletteColors": ["000000", "00ff00"],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scale=-3"], "scale = -3: -3 is less than the minimum of 0."),
        (["--scale", "30", "--scale", "60"], "scale = ['30', '60']: should be a valid number."),
        (["--scale=30", "--region=[1]", "--region=[2]"], "region = ['[1]', '[2]']: should be a box of four numbers"),
        (["--scale=30", "--image=b"], "image = ['a/b', 'b']"),
        (["--scale=30", "--codec=zip"], "codec = 'zip': 'zip' is not one of ['zstd', 'deflate', 'none']."),
    ],
)
def test_a_wrong_value_is_refused_in_the_words_of_the_form(words, message):
    with pytest.raises(InputError) as caught:
        parse(RegionParameters, "--image", "a/b", *words)
    assert str(caught.value).startswith(message)


def test_json_that_is_broken_is_refused_for_what_it_should_be():
    with pytest.raises(InputError, match=r"recipe_parameters = '\{\"a\"': should be a valid dictionary"):
        parse(RegionParameters, "--image=ndvi", '--recipe-parameters={"a"', "--scale=30")


@pytest.mark.parametrize(
    "words", [["--colour", "red"], ["--scale"], ["red"], ["--plan-only=perhaps"], ["--tile.size=3"]]
)
def test_what_is_no_option_is_refused(words):
    with pytest.raises(CycloptsError) as caught:
        parse(RegionParameters, *GIVEN, *words)
    assert words[0].partition("=")[0] in str(caught.value)


def test_the_environment_gives_no_parameter(monkeypatch):
    for name in ExtractionParameters.model_fields:
        monkeypatch.setenv(name.upper(), "leaked")
        monkeypatch.setenv(name, "leaked")
    assert parse(RegionParameters, *GIVEN) == parameters_of(RegionParameters, image="a/b", scale=30)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_names_every_option_with_the_words_of_the_form(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    run([name, "--help-all"])
    text = plain_help(capsys)
    model = MODELS[name]
    assert " ".join(model.__doc__.split()) in text
    whole = model.model_json_schema()
    advanced = {"properties": {}}  # a profile has none
    if "advanced" in whole["properties"]:
        advanced = whole["$defs"][whole["properties"].pop("advanced")["$ref"].rpartition("/")[2]]
    for field, schema in (*whole["properties"].items(), *advanced["properties"].items()):
        if "$ref" in schema:  # a form within the form
            continue
        description = schema["description"].replace("`", "")
        assert " ".join(description.split()).rstrip(".") in text
        for choice in schema.get("enum", ()):
            assert choice in text, field
    for option in options(model):
        assert f"--{option.spelling} " in text
    assert text.count("[required") == sum(field.is_required() for field in model.model_fields.values())
    if name == "region":
        assert "[at least 16, at most 32768] [default 512]" in text


@pytest.mark.parametrize("name", ["region", "timeseries", "patches"])
def test_help_is_short(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    text = help_of(name, capsys=capsys)
    shown = {option.spelling for option in options(MODELS[name]) if f" --{option.spelling} " in text}
    assert len(shown) == 10
    assert {"image", "scale", "output", "plan-only"} < shown
    assert f"--help-all lists {len(options(MODELS[name])) - 10} more options" in text


def test_the_list_of_commands_says_what_each_flow_says(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    text = help_of(capsys=capsys)
    for name, model in MODELS.items():
        assert f"{name} {model.__doc__}" in text


def test_without_words_it_says_what_to_do_first(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    run([])
    text = plain_help(capsys)
    steps = ["make demo", "make up", "python -m flows profile --project my-project", "python -m flows doctor"]
    places = [text.index(step) for step in [*steps, "A region of one image"]]
    assert places == sorted(places)


def test_the_help_of_the_installed_command_shows_its_name(capsys, monkeypatch):
    name, target = next(iter(PROJECT["project"]["scripts"].items()))
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/{name}"])
    monkeypatch.setattr(gc, "disable", lambda: None)
    monkeypatch.setattr(gc, "freeze", lambda: None)
    pkgutil.resolve_name(target)()
    text = plain_help(capsys)
    assert f"Usage: {name} COMMAND" in text
    assert f"{name} doctor" in text
    assert "python -m" not in text


def test_the_list_of_commands_loads_no_flow():
    """It is there in the time that Prefect's settings take."""
    code = "import sys; from flows.command_line import run; run(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"flows.parameters", "prefect.flows", "prefect.engine", "ee"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", SCENE, "--scale=-3"], "scale = -3: -3 is less than the minimum of 0."),
        (["--image", SCENE, "--scale=30", "--bands=B99"], "bands = ['B99']: there is no band 'B99'."),
        (["--image", SCENE], "scale = None: with crs = utm it must be given."),
        (["--scale=30"], "image = None: missing."),
        (["--scale=30", "--colour=secret"], "Unknown option: --colour."),
    ],
)
def test_bad_input_leaves_with_2_and_one_message(prefect_server, place, capsys, arguments, message):
    words = [f"--{name.replace('_', '-')}={value}" for name, value in place.items()]
    assert leaves("region", *words, *arguments) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith(message)
    assert "Traceback" not in said.err
    assert "secret" not in said.err
    assert said.out == ""


def test_a_command_that_does_not_exist_leaves_with_2(capsys):
    assert leaves("regoin", *GIVEN) == 2
    assert 'Did you mean "region"?' in capsys.readouterr().err


@pytest.mark.parametrize("words", [["region", "{0}"], ["{0}"], ["region", "--plan-only={0}"]])
def test_what_a_command_line_repeats_is_plain_and_no_secret(words, capsys):
    given = "\x1b[31m\u202e ya29.abcdefghijklmnopqrstuvwxyz"
    assert leaves(*(word.format(given) for word in words)) == 2
    said = capsys.readouterr().err
    assert "\\x1b[31m" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "ya29" not in said


def test_what_is_missing_is_told_before_prefect_starts(monkeypatch, capsys):
    monkeypatch.delenv("EARTHENGINE_PROJECT", raising=False)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert leaves("region", *GIVEN) == 2
    assert capsys.readouterr().err.startswith("project = None: Earth Engine needs a Google Cloud project.")


def test_a_prefect_server_that_is_away_leaves_with_1(tmp_path, capsys):
    with temporary_settings({PREFECT_API_URL: "http://me:secret@127.0.0.1:9/api"}):
        assert leaves("audit", f"--output={tmp_path}") == 1
    said = capsys.readouterr().err
    assert said.startswith("The Prefect server at http://127.0.0.1:9/api/ does not answer.")
    assert len(said.splitlines()) == 1


def test_an_unreachable_endpoint_leaves_with_1(prefect_server, tmp_path, capsys):
    words = ["--project=my-project", "--endpoint=http://127.0.0.1:9", f"--output={tmp_path}", "--run-retries=0"]
    assert leaves("region", "--image", SCENE, "--scale=30", *words) == 1
    assert "Transient: There is no answer from http://127.0.0.1:9 (NewConnectionError)." in capsys.readouterr().err


def started(url, output, stderr):
    """A run as a process of its own: 20 tiles that take some seconds."""
    words = ["--image", SCENE, "--region", "-54.60,-25.30,-54.55,-25.26", "--scale=30", "--tile-size=40"]
    more = ["--requests-in-flight=2", "--project=my-project", f"--endpoint={url}", f"--output={output}"]
    terminal = {"TERM": "xterm", "COLUMNS": "120", "DO_NOT_TRACK": "1"}  # it is Prefect's notice that is not printed
    environment = os.environ | terminal | {"PREFECT_API_URL": get_current_settings().api.url}
    return subprocess.Popen(
        [sys.executable, "-m", "flows", "region", *words, *more],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=heeding_interrupts,  # noqa: PLW1509 - it sets a signal, and takes no lock
    )


@pytest.fixture
def slow():
    """A sandbox whose requests take a while."""
    with running(latency_median=0.3, latency_sigma=0.1) as url:
        yield url


def read_to_end(terminal, text=None, then=None):
    """What a terminal is sent, without colours; something is done when a text appears there."""
    seen = b""
    while True:
        try:
            seen += os.read(terminal, 65536)
        except OSError:  # nobody holds its other end any more
            return re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]", "", seen.decode())
        if then and text in seen:
            then = then()


def test_on_a_terminal_a_bar_stays_below_the_log_and_the_result_is_on_standard_output(prefect_server, slow, tmp_path):
    ours, theirs = pty.openpty()
    with started(slow, tmp_path / "out", stderr=theirs) as process:
        os.close(theirs)
        seen = read_to_end(ours)
        result = RegionResult.model_validate_json(process.stdout.read())
    os.close(ours)
    assert process.returncode == 0
    assert result.stored == 20
    lines = [line.strip() for line in re.split(r"\n|\r\x1b\[2K", seen) if line.strip()]
    bars = [line for line in lines if re.match(r"[━╸╺]+ +\d+% ", line)]
    assert len(set(bars)) > 3
    assert "100% 20 of 20 tiles" in bars[-1]
    logged = [line for line in lines if "| INFO " in line]
    assert logged
    assert set(lines) == set(bars) | set(logged)
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d+ \| INFO ", line) for line in logged)


def test_ctrl_c_leaves_with_130_and_one_message(prefect_server, slow, tmp_path):
    turn(slow, latency_median=1.0)
    ours, theirs = pty.openpty()
    with started(slow, tmp_path / "out", stderr=theirs) as process:
        os.close(theirs)
        seen = read_to_end(ours, b" of 20 tiles", lambda: process.send_signal(signal.SIGINT))
        assert process.stdout.read() == b""
    os.close(ours)
    assert process.returncode == 130
    assert "Interrupted by Ctrl-C. " in seen
    assert "Traceback" not in seen


def test_the_audit_s_options_are_its_form_s():
    assert audit_output.parameters.properties.keys() == AuditParameters.model_fields.keys()
    assert parse(AuditParameters, "--repair", "--verify=full", "--no-prune") == parameters_of(
        AuditParameters, repair=True, verify="full"
    )


@pytest.mark.parametrize(
    "error", [ServerAwayError("no answer"), ServerRefusedError("it refuses"), CorruptPixelsError("cut off")], ids=repr
)
def test_every_error_of_the_project_ends_a_command_with_one_message(error, capsys, monkeypatch):
    """Whatever a flow raises: no traceback."""

    @contextlib.contextmanager
    def failing(*_):
        raise error
        yield

    monkeypatch.setattr("flows.start.ready", failing)
    with pytest.raises(SystemExit) as left:
        run(["region", "--image", SCENE, "--scale=30"])
    assert left.value.code == FAILED
    assert capsys.readouterr().err == f"{type(error).__name__}: {error}\n"
