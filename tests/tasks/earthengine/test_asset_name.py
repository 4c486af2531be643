"""No name of an asset makes another request than the one for its pixels."""

from urllib.parse import unquote, urlsplit

import ee
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.earthengine.asset_name import asset_path
from tasks.earthengine.transport import PixelRequest
from tasks.errors.input import BadInputError

ASSETS = "projects/my-project/assets"


@given(st.text(max_size=40) | st.text("./:?#%@\\ab \n\t\0", max_size=20))
@example("x:setIamPolicy?x=")
@example("../../other/api")
@example("a/../../b")
@example("a%2f..%2fb")
@example("a#")
@example("")
@example("//host/a")
@example("a/")
def test_a_request_for_pixels_is_refused_or_asks_for_nothing_else(text):
    for name in (text, f"{ASSETS}/{text}", f"{ASSETS}/scene{text}", ee.data.convert_asset_id_to_asset_name(text)):
        try:
            path = PixelRequest(asset=name, body=b"{}").path("my-project")
        except BadInputError:
            continue
        sent = urlsplit(f"https://host/v1/{path}")
        assert (sent.netloc, sent.query, sent.fragment) == ("host", "", "")
        assert sent.path.isascii()
        assert sent.path.isprintable()
        assert sent.path.endswith(":getPixels")
        assert unquote(sent.path) == f"/v1/{name}:getPixels"
        parts = unquote(sent.path).split("/")
        assert not {".", ".."} & set(parts)
        assert parts[-1].count(":") == 1


@pytest.mark.parametrize(
    "name",
    [
        f"{ASSETS}/scene",
        f"{ASSETS}/a.b/c-d_E/2020",
        "projects/google.com:my-project/assets/x",
        "projects/earthengine-public/assets/COPERNICUS/S2_SR_HARMONIZED/20200518T134211_20200518T134211_T21JXN",
        "projects/earthengine-legacy/assets/users/someone/folder/image",
        "projects/earthengine-legacy/assets/projects/sat-io/open-datasets/x",
    ],
)
def test_names_of_assets_stand_in_a_path_as_they_are(name):
    assert asset_path(name) == name


@pytest.mark.parametrize(
    "name", ["projects/p/secrets/s", f"{ASSETS}x/y", "projects/assets/a", f"{ASSETS}/a//b", "a" * 2000]
)
def test_what_is_no_asset_is_refused_in_one_message(name):
    with pytest.raises(BadInputError, match=r"^image = ") as refused:
        asset_path(name)
    assert len(str(refused.value)) < 500
