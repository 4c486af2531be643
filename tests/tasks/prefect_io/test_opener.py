"""Laws of an output: whatever names it, it is one place; a block is its slug, and no secret leaves its server."""

import json
from types import SimpleNamespace
from uuid import uuid4

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from prefect.filesystems import LocalFileSystem
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket
from pydantic import ValidationError

from flows.parameters import PatchesParameters, RegionParameters, TimeseriesParameters
from tasks.errors.input import BadInputError
from tasks.prefect_io import opener as module
from tasks.prefect_io import output_block
from tasks.prefect_io.block_slugs import slug_of
from tasks.prefect_io.opener import PREFECT, open_output
from tasks.prefect_io.output_block import forget_blocks
from tasks.storage.address import forget, is_block, open_store
from tasks.storage.local import LocalStore
from tasks.storage.store import StorageError
from tests.cloud.fake import fake
from tests.cloud.tokens import service_account_info
from tests.given import parameters_of

GIVEN = {"image": {"asset": "a/b"}, "crs": "native"}


@pytest.mark.parametrize("output", ["gcs-bucket/pixels", "local-file-system/a-1", "local-file-system/0"])
def test_a_saved_block_is_told_by_its_slug(output):
    assert is_block(output)
    assert slug_of(output) == output


@pytest.mark.parametrize(
    "output",
    [
        *("", "output", "./gcs-bucket/pixels", "/gcs-bucket/pixels", "gcs-bucket", "gcs-bucket/", "gcs-bucket/a/b"),
        *("gcs-bucket/Pixels", "gcs-bucket/a b", "gcs-bucket/a_b", "s3-bucket/pixels", "GCS-bucket/pixels"),
        *(
            "gs://gcs-bucket/pixels",
            "gcs-bucket/pixels\n",
            " gcs-bucket/pixels",
            "local-file-system/../x",
            "gcs-bucket/é",
        ),
    ],
)
def test_anything_else_is_an_address(output):
    assert not is_block(output)
    assert slug_of(output) == output


@pytest.mark.parametrize("value", [None, 7, ["a"], {"asset": "a"}, {}])
def test_what_is_no_block_is_left_to_the_model(value):
    assert slug_of(value) is value


@pytest.fixture
def bucket_block():
    """A bucket with a key of its own: one without asks for Application Default Credentials as it is made."""
    credentials = GcpCredentials(service_account_info=service_account_info("http://127.0.0.1:9/token"))
    return GcsBucket(bucket="pixels-of-tests", gcp_credentials=credentials, bucket_folder="runs/2020")


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_a_block_that_is_not_saved_is_refused_with_what_to_do(bucket_block, kind):
    block = LocalFileSystem(basepath="/out") if kind == "folder" else bucket_block
    slug = block.get_block_type_slug()
    with pytest.raises(ValueError, match=rf"not saved\. Save it \(`block\.save\('name'\)`\), or give '{slug}/name'"):
        slug_of(block)
    with pytest.raises(ValidationError, match=r"output = .*the block is not saved\. Save it"):
        parameters_of(RegionParameters, **GIVEN, output=block)


def test_a_folder_is_made_and_known_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_output("a/b", write=True).reference == str(tmp_path / "a/b")
    assert list((tmp_path / "a/b").iterdir()) == []
    assert open_output(str(tmp_path / "a/b"), write=True).reference == str(tmp_path / "a/b")


def test_what_should_be_known_of_a_folder_is_said(tmp_path, monkeypatch):
    said = []
    log = SimpleNamespace(warning=lambda *words: said.append(words[0] % words[1:]))
    monkeypatch.setattr(LocalStore, "check", lambda _: "It is a network mount.")
    monkeypatch.setattr(module, "run_logger", lambda: log)
    open_output(str(tmp_path), write=True)
    assert said == ["It is a network mount."]


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for output in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(BadInputError) as refused:
            open_output(str(output), write=True)
        assert (refused.value.field, refused.value.value) == ("output", str(output))
        assert str(refused.value).endswith("Give a folder that you may write to.")
        assert "None" not in refused.value.reason
    for output in ("nul\0byte", "~nobody-of-this-name/x"):
        with pytest.raises(BadInputError, match="Give a folder that you may write to"):
            open_output(output, write=True)


@pytest.mark.parametrize("output", ["gs://", "gs://Bucket", "gs://bucket/../x", "gs://a"])
def test_a_bucket_that_cannot_be_is_told_as_such(output):
    with pytest.raises(StorageError, match="Give gs://bucket/prefix"):
        open_output(output, write=True)


def test_the_form_offers_an_address_and_both_kinds_of_blocks():
    for model in (RegionParameters, TimeseriesParameters, PatchesParameters):
        schema = model.model_json_schema()
        field = schema["properties"]["output"]
        # The UI finds pickers among the definitions only, and would put a default under each of them.
        models = {f"#/$defs/{name}": model for name, model in schema["$defs"].items()}
        kinds = [models.get(kind.get("$ref"), kind) for kind in field["anyOf"]]
        assert [kind.get("block_type_slug") for kind in kinds] == [None, "gcs-bucket", "local-file-system"]
        assert [kind["type"] for kind in kinds] == ["string", "object", "object"]
        assert "default" not in field
        assert model.model_fields["output"].default == "output"


# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder_block(prefect_server, tmp_path):
    """A saved folder, with the number that a form would send for it."""
    block, name = LocalFileSystem(basepath=str(tmp_path / "out")), f"pixels-{uuid4().hex[:8]}"
    number = block.save(name)
    return SimpleNamespace(block=block, slug=f"local-file-system/{name}", number=str(number), root=tmp_path / "out")


def test_a_saved_folder_is_written_to(folder_block):
    store = PREFECT.store(folder_block.slug)
    store.put("tiles/a", b"pixels")
    assert (folder_block.root / "tiles/a").read_bytes() == b"pixels"
    assert store.uri == str(folder_block.root)
    assert PREFECT.store(folder_block.slug) is store
    assert open_output(folder_block.slug, write=True).reference == folder_block.slug


def test_a_block_and_a_reference_to_one_become_its_slug(folder_block):
    references = (
        folder_block.block,
        LocalFileSystem.load(folder_block.slug.split("/")[1]),
        {"$ref": {"block_document_id": folder_block.number}},
        {"$ref": folder_block.number},
        folder_block.slug,
    )
    for given in references:
        assert slug_of(given) == folder_block.slug
        parameters = parameters_of(RegionParameters, **GIVEN, output=given)
        assert parameters.output == folder_block.slug
        assert json.loads(parameters.model_dump_json())["output"] == folder_block.slug
        assert RegionParameters.model_validate_json(parameters.model_dump_json()) == parameters


@pytest.mark.parametrize("reference", [lambda n: {"block_document_id": n}, lambda n: n], ids=["form", "plain"])
def test_a_reference_to_no_block_is_refused_by_its_number(prefect_server, reference):
    number = str(uuid4())
    with pytest.raises(ValueError, match=f"there is no block {number}"):
        slug_of({"$ref": reference(number)})
    with pytest.raises(ValidationError, match=f"output = .*there is no block {number}"):
        parameters_of(RegionParameters, **GIVEN, output={"$ref": reference(number)})


@pytest.mark.parametrize("reference", [{"block_document_id": "x"}, {}, "x", None, 7, []], ids=str)
def test_a_reference_that_is_none_is_bad_input(prefect_server, reference):
    with pytest.raises(ValidationError, match="output = "):
        parameters_of(RegionParameters, **GIVEN, output={"$ref": reference})


@pytest.mark.parametrize("slug", ["local-file-system/not-there", "gcs-bucket/not-there"])
def test_a_block_that_is_not_there_is_named(prefect_server, slug):
    for function in (PREFECT.store, lambda given: open_output(given, write=True)):
        with pytest.raises(StorageError, match=f"output = '{slug}': there is no such block") as refused:
            function(slug)
        assert "prefect block ls" in str(refused.value)


def test_a_bucket_of_a_block_is_its_slug_and_holds_no_secret(prefect_server, bucket_block):
    name = f"pixels-{uuid4().hex[:8]}"
    bucket_block.gcp_credentials.save(name)
    number = bucket_block.save(name)
    key = bucket_block.gcp_credentials.service_account_info.get_secret_value()
    for given in (bucket_block, {"$ref": {"block_document_id": str(number)}}, f"gcs-bucket/{name}"):
        parameters = parameters_of(RegionParameters, **GIVEN, output=given)
        shown = parameters.model_dump_json()
        assert json.loads(shown)["output"] == f"gcs-bucket/{name}"
        for text in (shown, repr(parameters), str(parameters.model_dump())):
            assert not any(secret in text for secret in (key["private_key"], key["private_key_id"], "PRIVATE KEY"))
    assert PREFECT.store(f"gcs-bucket/{name}").uri == "gs://pixels-of-tests/runs/2020"


@pytest.fixture(scope="module")
def service():
    """Cloud Storage: the strict fake."""
    with fake() as server:
        server.create_bucket("pixels")
        yield server
    forget_blocks()
    forget()


@pytest.mark.parametrize(
    ("folder", "prefix"),
    [
        *(("/runs/2020", "runs/2020"), ("runs/2020/", "runs/2020"), ("//runs//2020//", "runs/2020"), ("", "")),
        *(("/", ""), ("./runs", "runs"), (".", ""), ("runs 2020/ é植", "runs 2020/ é植")),
    ],
)
def test_a_folder_of_a_bucket_is_a_path(prefect_server, service, monkeypatch, folder, prefix):
    """The keys of objects begin with no slash, however the folder is written in the form of the block."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.url)
    monkeypatch.setattr("google.auth.default", lambda *_, **__: (AnonymousCredentials(), "p"))
    name = f"pixels-{uuid4().hex[:8]}"
    credentials = GcpCredentials(project="p")
    credentials.save(name)
    GcsBucket(bucket="pixels", gcp_credentials=credentials, bucket_folder=folder).save(name)
    store = PREFECT.store(f"gcs-bucket/{name}")
    assert store.uri == (f"gs://pixels/{prefix}" if prefix else "gs://pixels")
    key = f"tiles/{uuid4().hex}"
    store.put(key, b"pixels")
    assert open_store("gs://pixels").get(f"{prefix}/{key}".lstrip("/")) == b"pixels"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bucket_folder": "../up"}, "bucket_folder = '../up/'"),
        ({"bucket_folder": "a\\b"}, "bucket_folder = "),
        ({"bucket_folder": "gs://pixels/a"}, "bucket_folder = 'gs://pixels/a/'.*A folder has no ://"),
        ({"bucket": "gs://pixels"}, "bucket = 'gs://pixels'.*a name without gs://"),
        ({"bucket": "Pixels"}, "bucket = 'Pixels'"),
    ],
)
def test_a_bucket_that_cannot_be_is_named_as_it_stands_in_the_block(prefect_server, bucket_block, given, words):
    name = f"pixels-{uuid4().hex[:8]}"
    bucket_block.gcp_credentials.save(name)
    GcsBucket(**{"bucket": bucket_block.bucket, "gcp_credentials": bucket_block.gcp_credentials} | given).save(name)
    with pytest.raises(StorageError, match=rf"output = 'gcs-bucket/{name}': the block has .*{words}"):
        PREFECT.store(f"gcs-bucket/{name}")


@pytest.mark.parametrize(
    ("basepath", "words"),
    [("file:///tmp/out", "a URL"), ("~nobody-of-this-name/x", "no such home folder"), ("nul\0", "a control character")],
)
def test_a_folder_that_cannot_be_is_named_as_it_stands_in_the_block(prefect_server, basepath, words):
    name = f"pixels-{uuid4().hex[:8]}"
    LocalFileSystem(basepath=basepath).save(name)
    with pytest.raises(StorageError, match=rf"output = 'local-file-system/{name}': the block has basepath = .*{words}"):
        PREFECT.store(f"local-file-system/{name}")


def test_a_relative_folder_of_a_block_is_refused_in_a_deployment(prefect_server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    name = f"pixels-{uuid4().hex[:8]}"
    for basepath, root in (("out", tmp_path / "out"), ("~/out", tmp_path / "out"), (None, tmp_path)):
        LocalFileSystem(basepath=basepath).save(name, overwrite=True)
        forget_blocks()
        assert PREFECT.store(f"local-file-system/{name}").uri == str(root)
    LocalFileSystem(basepath="out").save(name, overwrite=True)
    forget_blocks()
    monkeypatch.setattr(output_block, "of_deployment", lambda: True)
    with pytest.raises(StorageError, match=r"basepath = 'out' \(the worker deletes its working directory"):
        PREFECT.store(f"local-file-system/{name}")


@pytest.mark.parametrize("lost", ["the machine's sign-in", "the key file"])
def test_a_bucket_whose_block_has_lost_its_credentials_is_told_as_such(prefect_server, tmp_path, monkeypatch, lost):
    """It is there: what is missing is on the machine that the flow runs on."""
    name, path = f"pixels-{uuid4().hex[:8]}", tmp_path / "key.json"
    path.write_text(json.dumps(service_account_info("http://127.0.0.1:9/token")))
    monkeypatch.setattr("google.auth.default", lambda *_, **__: (AnonymousCredentials(), "p"))
    credentials = GcpCredentials(project="p", service_account_file=path if lost == "the key file" else None)
    credentials.save(name)
    GcsBucket(bucket="pixels-of-tests", gcp_credentials=credentials).save(name)

    def default(*_, **__):
        raise DefaultCredentialsError("Your default credentials were not found.")

    monkeypatch.setattr("google.auth.default", default)
    path.unlink()
    for function in (PREFECT.store, lambda given: open_output(given, write=True)):
        with pytest.raises(StorageError, match=f"gcs-bucket/{name}") as refused:
            function(f"gcs-bucket/{name}")
        assert "no such block" not in str(refused.value)
