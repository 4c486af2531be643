"""Each fault of the service is found by the check that is named for it, with a remedy. The other checks pass."""

import io
import json
import re
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace

import ee
import google.auth.exceptions
import numpy as np
import pytest
import rasterio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rasterio.io import MemoryFile

from tasks.doctor import sign_in as signing
from tasks.doctor.asking import Asking
from tasks.doctor.catalogue import catalogue
from tasks.doctor.check import examined
from tasks.doctor.pixels import pixels
from tasks.doctor.places import places
from tasks.doctor.privacy import Privacy
from tasks.doctor.refusals import WRONG, refusals
from tasks.doctor.service import service
from tasks.doctor.sign_in import sign_in
from tasks.earthengine.connection import HIGH_VOLUME, Connection
from tests.deceit import Answered, deceit, refusal, truth

LARGE = Answered(200, b"\x93NUMPY".ljust(4096, b"\0"))


def is_large(asked):
    """Whether a request is the one just below the limit."""
    sides = asked.content.get("grid", {}).get("dimensions", {}) if asked.path.endswith(":computePixels") else {}
    return sides.get("width") == 2048


HEALTHY_BUT_UNSEEN = {"other endpoint", "Retry-After"}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("tasks.doctor.asking.PAUSE_S", 0.0)


@pytest.fixture(scope="module")
def liar(sandbox_url):
    with deceit(sandbox_url) as server:
        yield server


@pytest.fixture
def lying(liar):
    """Set a lie for one test. The sandbox is spared the largest request, of which nobody reads the answer."""

    def tell(lie):
        liar.lie = lambda asked, ask: lie(asked, lambda other: LARGE if is_large(other) else ask(other))

    yield tell
    liar.lie = truth
    liar.date, liar.compresses = None, True


def examine(url, *, other=None, limit=20.0, seconds=None):
    """Run the checks of Earth Engine, and return the findings by the names of the checks."""
    connection = Connection(project="my-project", endpoint=url)
    asking = Asking(connection, seconds or limit)
    privacy = Privacy()
    privacy.hide(connection.project, "<project>")

    def checks():
        yield from sign_in(lambda: connection)
        yield from service(lambda: asking, other)
        yield from catalogue(lambda: connection, lambda: asking)
        for area in (pixels, places, refusals):
            yield from area(lambda: asking)

    findings = {finding.check: finding for finding in examined(checks(), privacy, limit=limit)}
    return SimpleNamespace(findings=findings, asking=asking)


def find(findings, name, state, remedy):
    """Check that one check has found a fault, and that all others pass or were not tried."""
    found = findings[name]
    assert found.state == state, found
    assert re.search(remedy, found.remedy), found
    others = [each for each in findings.values() if each.check != name and each.state not in {"ok", "not tried"}]
    assert others == []
    return found


def test_on_the_sandbox_all_passes_with_few_requests_and_bytes(liar):
    found = examine(liar.url)
    assert {name for name, each in found.findings.items() if each.state != "ok"} == HEALTHY_BUT_UNSEEN
    assert not any(each.remedy for each in found.findings.values())
    assert 30 <= found.asking.pixel_requests <= 50
    assert found.asking.bytes < 5e6
    assert len(WRONG) >= 10


def of(call, change):
    """Return a lie about the calls whose path ends so: `change` gets the question and the answer."""

    def lie(asked, ask):
        answer = ask(asked)
        return change(asked, answer) if re.search(call, asked.path) and answer.status == 200 else answer

    return lie


def instead(call, answer, when=bool):
    """Return a lie that answers calls without asking the sandbox."""
    return lambda asked, ask: answer if re.search(call, asked.path) and when(asked) else ask(asked)


# How far the first request gets --------------------------------------------------------------------------------------

FIRST = "value:compute"
LADDER = {
    "answer of Earth Engine": (Answered(200, b"<html>Sign in to the guest network</html>"), "captive portal"),
    "sign-in accepted": (refusal(401, "Request had invalid authentication credentials."), "earthengine authenticate"),
    "API enabled": (
        refusal(403, "Earth Engine API has not been used in project 123456789 before.", "SERVICE_DISABLED"),
        "gcloud services enable",
    ),
    "project registered": (
        refusal(403, "Project my-project is not registered to use Earth Engine."),
        "code.earthengine.google.com/register",
    ),
    "roles": (
        refusal(403, "Caller does not have required permission to use project my-project.", "USER_PROJECT_DENIED"),
        "Service Usage Consumer",
    ),
    "budget": (refusal(429, "Monthly EECU quota exceeded for the project."), "renewed"),
    "not throttled": (refusal(429, "Too Many Requests"), "requests_in_flight"),
    "value computed": (refusal(500, "Internal error encountered."), "status.earthengine.app"),
}


@pytest.mark.parametrize("name", LADDER)
def test_the_first_request_is_refused(name, liar, lying):
    answer, remedy = LADDER[name]
    lying(instead(FIRST, answer))
    findings = examine(liar.url).findings
    found = find(findings, name, "fail", remedy)
    assert "my-project" not in found.found + found.remedy
    assert "123456789" not in found.found
    assert findings["masks are exact"].state == "not tried"
    assert f"“{name}”, which failed" in findings["masks are exact"].found


@pytest.fixture
def closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def test_nothing_listens_at_the_endpoint(closed_port):
    find(examine(f"http://127.0.0.1:{closed_port}").findings, "endpoint reached", "fail", "firewall")


def test_an_endpoint_that_never_answers_costs_one_deadline():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        findings = examine(f"http://127.0.0.1:{deaf.getsockname()[1]}", limit=0.5).findings
    assert find(findings, "endpoint reached", "fail", "").state == "fail"
    assert {each.state for each in findings.values()} == {"ok", "fail", "not tried"}


def test_a_service_that_stops_answering_is_asked_three_times_more(liar, lying):
    never = threading.Event()
    lying(lambda asked, ask: never.wait() or ask(asked) if "Pixels" in asked.path else ask(asked))
    findings = examine(liar.url, seconds=0.3).findings
    never.set()
    assert findings["masks are exact"].state == "fail"
    waited = [each for each in findings.values() if "within the deadline" in each.found]
    assert [each.check for each in waited] == ["masks are exact", "unknown band", "unknown field", "unknown format"]
    assert "no further one is sent" in findings["unknown CRS"].found
    assert findings["unknown CRS"].state == "not tried"


def test_an_authority_that_nobody_trusts(tmp_path):
    with tls_server(tmp_path) as port:
        find(examine(f"https://localhost:{port}").findings, "TLS certificate", "fail", "REQUESTS_CA_BUNDLE")


def tls_server(folder):
    """Serve TLS with a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    certificate = built.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    file = folder / "server.pem"
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return _Tls(context)


class _Tls:
    def __init__(self, context):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._context = context

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self._listener.getsockname()[1]

    def _serve(self):
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                try:
                    self._context.wrap_socket(peer, server_side=True).close()
                except OSError:
                    continue

    def __exit__(self, *raised):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.parametrize("header", [{"retry-after": "0"}, {}], ids=["with Retry-After", "without"])
def test_a_request_that_was_throttled_once_is_sent_again(header, liar, lying):
    refused = [replace(refusal(429, "Too Many Requests"), headers=header)]
    lying(lambda asked, ask: refused.pop() if FIRST in asked.path and refused else ask(asked))
    found = examine(liar.url)
    assert {each.state for each in found.findings.values()} == {"ok", "not tried"}
    assert found.asking.repeated == 1
    shown = found.findings["Retry-After"]
    assert (shown.state, ("without" in shown.found)) == ("ok", not header)


# The rest of the service ---------------------------------------------------------------------------------------------


def test_the_other_endpoint_is_closed_by_a_firewall(liar, closed_port):
    findings = examine(liar.url, other=f"http://127.0.0.1:{closed_port}").findings
    assert "endpoint reached" in find(findings, "other endpoint", "warn", "firewall").found


def test_both_endpoints_answer(liar, sandbox_url):
    assert examine(liar.url, other=sandbox_url).findings["other endpoint"].state == "ok"


def test_the_project_is_not_registered_by_its_configuration(liar, lying):
    state = Answered(200, json.dumps({"registrationState": "NOT_REGISTERED"}).encode())
    lying(instead("/config$", state))
    find(examine(liar.url).findings, "registration", "fail", "register")


@pytest.mark.parametrize(("minutes", "state"), [(-20, "fail"), (2, "warn")])
def test_the_clock_is_wrong(minutes, state, liar, lying):
    lying(truth)
    liar.date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    find(examine(liar.url).findings, "clock", state, "NTP")


def test_the_project_is_restricted(liar, lying):
    header = {"x-earth-engine-quota-status": "parallelism_restricted=true"}
    lying(of(FIRST, lambda _, answer: Answered(200, answer.body, header)))
    find(examine(liar.url).findings, "restricted mode", "warn", "noncommercial_tiers")


def test_the_client_cannot_start(liar, lying):
    ee.Reset()
    lying(instead("/algorithms$", refusal(404, "no such method")))
    find(examine(liar.url).findings, "client", "fail", "discovery")


# Credentials ---------------------------------------------------------------------------------------------------------


def signed_in(key):
    """Run the checks of the sign-in with some credentials. Nothing is sent."""
    connection = Connection(project="my-project", endpoint=HIGH_VOLUME, key=key)
    return {each.check: each for each in examined(sign_in(lambda: connection), Privacy())}


class Key:
    """Credentials of Google, as far as they are used."""

    def __init__(self, error=None, scopes=None):
        self.scopes, self._error = scopes, error

    def refresh(self, request):
        if self._error:
            raise self._error


def test_credentials_that_are_good():
    findings = signed_in(Key(scopes=["https://www.googleapis.com/auth/earthengine"]))
    assert {each.state for each in findings.values()} == {"ok"}


def test_no_credentials_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    find(signed_in(None), "credentials", "fail", "earthengine authenticate")


def test_the_credentials_were_revoked():
    error = google.auth.exceptions.RefreshError("invalid_grant: ya29.secret", {})
    assert "ya29" not in str(find(signed_in(Key(error)), "token", "fail", "earthengine authenticate"))


def test_the_token_server_is_not_reached():
    find(signed_in(Key(google.auth.exceptions.TransportError("x"))), "token", "fail", "oauth2.googleapis.com")


def test_the_credentials_are_for_something_else():
    find(signed_in(Key(scopes=["https://www.googleapis.com/auth/drive"])), "scopes", "fail", "--scopes=")


def test_a_token_server_that_hangs_costs_a_deadline():
    never = threading.Event()
    key = SimpleNamespace(refresh=lambda _: never.wait())
    connection = Connection(project="my-project", endpoint=HIGH_VOLUME, key=key)
    findings = {each.check: each for each in examined(sign_in(lambda: connection), Privacy(), limit=0.2)}
    never.set()
    assert "no answer within" in find(findings, "token", "fail", "Sign in").found
    assert signing.TOKEN_S < 30


# Metadata ------------------------------------------------------------------------------------------------------------


def test_an_asset_has_no_update_time(liar, lying):
    def change(asked, answer):
        return answer.saying({key: value for key, value in answer.content.items() if key != "updateTime"})

    lying(of("SRTMGL1_003$", change))
    find(examine(liar.url).findings, "public asset", "warn", "processed again")


def test_a_filter_by_start_is_ignored(liar, lying):
    def lie(asked, ask):
        text = asked.query.get("filter", "")
        return (
            ask(asked.asking(filter=text.replace(' AND startTime < "2020-03-05T00:00:00Z"', "")))
            if text
            else ask(asked)
        )

    lying(lie)
    find(examine(liar.url).findings, "filter by start", "fail", "miss images")


def test_a_page_token_is_ignored(liar, lying):
    def lie(asked, ask):
        return ask(asked.asking(pageToken="")) if "pageToken" in asked.query else ask(asked)

    lying(lie)
    find(examine(liar.url).findings, "pages of a listing", "fail", "1,000 images")


def test_images_of_another_place_are_listed(liar, lying):
    def change(asked, answer):
        listing = answer.content
        for asset in listing.get("assets", []):
            for band in asset.get("bands", []):
                band["grid"]["crsCode"] = "EPSG:32601"
        return answer.saying(listing)

    lying(of("S2_SR_HARMONIZED:listAssets$", change))
    find(examine(liar.url).findings, "filter by place", "warn", "report this line")


# Pixels --------------------------------------------------------------------------------------------------------------


def npy(change):
    """Return a lie about NPY answers: `change` gets the question and the array, which it may change."""

    def altered(asked, answer):
        if asked.content.get("fileFormat") != "NPY" or is_large(asked):
            return answer
        array = np.load(io.BytesIO(answer.body)).copy()
        change(asked, array)
        file = io.BytesIO()
        np.save(file, array)
        return Answered(200, file.getvalue())

    return of("Pixels$", altered)


def test_masks_are_wrong(liar, lying):
    def change(asked, array):
        if "valid_0" in array.dtype.names:
            array["valid_0"] = 1

    lying(npy(change))
    find(examine(liar.url).findings, "masks are exact", "fail", "do not fetch")


@pytest.mark.parametrize("kind", ["int16", "float32"])
def test_masked_pixels_are_not_zero_in_npy(kind, liar, lying):
    def change(asked, array):
        if array.dtype == [("v", kind)]:
            array["v"][array["v"] == 0] = -1

    lying(npy(change))
    find(examine(liar.url).findings, f"masked {kind} in NPY", "warn", "masks=unknown")


def test_answers_are_not_compressed(liar, lying):
    lying(truth)
    liar.compresses = False
    find(examine(liar.url).findings, "headers", "warn", "more bytes")


def test_bands_come_in_another_order(liar, lying):
    def lie(asked, ask):
        content = asked.content if asked.method == "POST" else {}
        if content.get("bandIds") == ["b", "a"]:
            body = json.dumps(content | {"bandIds": ["a", "b"]}).encode()
            return ask(type(asked)(asked.method, asked.target, body))
        return ask(asked)

    lying(lie)
    find(examine(liar.url).findings, "NPY of two types", "fail", "do not fetch")


def test_a_stored_image_differs_from_its_expression(liar, lying):
    def change(asked, array):
        if asked.path.endswith(":getPixels") and array.shape == (6, 8):
            array["elevation"][2, 2] += 1

    lying(npy(change))
    find(examine(liar.url).findings, "stored image", "fail", "do not fetch")


def tiff(change):
    """Return a lie about GeoTIFF answers: `change` gets the profile and the values, which it may change."""

    def altered(asked, answer):
        if asked.content.get("fileFormat") != "GEO_TIFF":
            return answer
        with MemoryFile(answer.body) as memory, memory.open() as file:
            profile, values = dict(file.profile), file.read()
        change(profile, values)
        with rasterio.Env(), MemoryFile() as memory:
            with memory.open(**profile) as file:
                file.write(values)
            return Answered(200, memory.read())

    return of("Pixels$", altered)


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_another_nodata_value(kind, liar, lying):
    def change(profile, values):
        if profile["dtype"] == kind:
            profile["nodata"] = 255 if kind == "uint8" else np.nan

    lying(tiff(change))
    find(examine(liar.url).findings, f"nodata of {kind}", "warn", "masks=nodata")


def test_a_geotiff_is_half_a_pixel_off(liar, lying):
    def change(profile, values):
        profile["transform"] = profile["transform"] @ rasterio.Affine.translation(0.5, 0.5)

    lying(tiff(change))
    findings = examine(liar.url).findings
    find(findings, "GeoTIFF", "warn", "masks=nodata")


@pytest.mark.parametrize("wire", ["PNG", "JPEG"])
def test_a_picture_is_refused(wire, liar, lying):
    answer = refusal(400, f"Image file format {wire} is not supported.")
    lying(instead("Pixels$", answer, lambda asked: asked.content.get("fileFormat") == wire))
    assert find(examine(liar.url).findings, wire, "warn", "file format").found.startswith("Image file format")


# Places and sizes ----------------------------------------------------------------------------------------------------


def test_wkt_without_a_code_is_refused(liar, lying):
    answer = refusal(400, "The CRS of a map projection could not be parsed.")
    lying(instead("Pixels$", answer, lambda asked: "inusoidal" in asked.content.get("grid", {}).get("crsWkt", "")))
    find(examine(liar.url).findings, "crsWkt without a code", "warn", "Give `crs` in another way")


def test_a_part_of_a_tile_differs(liar, lying):
    def change(asked, array):
        if array.dtype.names == ("elevation",) and array.shape == (16, 16):
            array["elevation"][3, 3] += 1

    lying(npy(change))
    find(examine(liar.url).findings, "tile in parts", "warn", "tile_size")


def test_the_mask_is_not_counted(liar, lying):
    def lie(asked, ask):
        answer = ask(asked)
        text = answer.body.decode("latin-1")
        stated = re.search(r"request size \((\d+) bytes\)", text)
        if stated is None or ('"toUint8"' not in asked.body.decode() and "Image.toUint8" not in asked.body.decode()):
            return answer
        return Answered(answer.status, text.replace(stated[1], str(int(stated[1]) // 2)).encode("latin-1"))

    lying(lie)
    find(examine(liar.url).findings, "size of uint8", "warn", "tile_size")


def test_the_limit_is_smaller(liar, lying):
    answer = refusal(400, "Total request size (50319360 bytes) must be less than or equal to 33554432 bytes.")
    lying(instead("computePixels$", answer, is_large))
    find(examine(liar.url).findings, "largest request", "warn", "tile_size")


# Refusals ------------------------------------------------------------------------------------------------------------


def test_an_error_that_would_stop_a_whole_run(liar, lying):
    answer = refusal(403, "Permission to read the band was denied.")
    lying(instead("getPixels$", answer, lambda asked: asked.content.get("bandIds") == ["no_such_band"]))
    find(examine(liar.url).findings, "unknown band", "warn", "the whole run stops")


def test_an_error_in_words_that_are_not_known(liar, lying):
    answer = refusal(400, "Nope.")
    lying(instead("computePixels$", answer, lambda asked: "noSuchField" in asked.content))
    find(examine(liar.url).findings, "unknown field", "warn", "report this line")


def test_a_wrong_request_is_answered(liar, lying):
    lying(instead("listAssets$", Answered(200, b"{}"), lambda asked: "<><" in asked.query.get("filter", "")))
    assert find(examine(liar.url).findings, "broken filter", "warn", "report").found == "it was answered"
