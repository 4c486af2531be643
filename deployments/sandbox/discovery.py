"""The discovery document and the list of algorithms, from the installed earthengine-api.

The wheel ships both for its own tests: the document of v1alpha, from 2020. It is brought to v1, and given the
parameters and methods that the client of today uses.
"""

from __future__ import annotations

import copy
import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

_POST, _GET, _PATCH = "POST", "GET", "PATCH"
_LISTING = {"filter": {}, "view": {"enum": ["EARTH_ENGINE_ASSET_VIEW_UNSPECIFIED", "FULL", "BASIC"]}}


def discovery(root: str) -> dict[str, Any]:
    """Return the discovery document of v1, with a server as its root.

    Args:
        root: The server's URL, ending in a slash.

    Raises:
        FileNotFoundError: earthengine-api is not installed, or not with its test data.
    """
    text = _wheel("cloud_api_discovery_document.json").read_text("utf-8")
    # The client asks for the root of a project with nothing behind its slash.
    document: dict[str, Any] = json.loads(text.replace("v1alpha", "v1").replace("/assets/.+$", "/assets/.*$"))
    document["rootUrl"] = document["baseUrl"] = root
    projects = document["resources"]["projects"]
    resources = projects["resources"]
    for resource in (projects, resources["assets"]):
        parameters = resource["methods"]["listAssets"]["parameters"]
        parameters.update({name: _parameter("query", **more) for name, more in _LISTING.items()})

    features = resources["assets"]["methods"]["listFeatures"]
    features["parameters"]["asset"] = features["parameters"].pop("parent")
    features["path"] = features["path"].replace("{+parent}", "{+asset}")
    features["parameterOrder"] = ["asset"]

    config = r"^projects/[^/]+/config$"
    projects["methods"]["getConfig"] = _method("projects.getConfig", _GET, "v1/{+name}", "name", config)
    projects["methods"]["updateConfig"] = _method(
        "projects.updateConfig", _PATCH, "v1/{+name}", "name", config, updateMask={}
    )
    resources["image"]["methods"]["importExternal"] = _post("image", "importExternal", "image:importExternal")
    for name, method, path in (
        ("classifier", "export", "classifier:export"),
        ("featureView", "create", "featureView"),
        ("tables", "create", "tables"),
    ):
        resources[name] = {"methods": {method: _post(name, method, path)}}
    return document


def algorithms() -> bytes:
    """Return the list of all algorithms that Earth Engine has, in its REST form, as JSON.

    Raises:
        FileNotFoundError: earthengine-api is not installed, or not with its test data.
    """
    return _wheel("algorithms.json").read_bytes()


def method_at(verb: str, path: str) -> str | None:
    """Return the name of the method that Earth Engine has at a path, such as ``projects.image.export``."""
    for method_verb, pattern, name in _methods():
        if verb == method_verb and pattern.fullmatch(path):
            return name
    return None


@functools.cache
def _methods() -> tuple[tuple[str, re.Pattern[str], str], ...]:
    found: list[tuple[str, str, dict[str, Any]]] = []
    left = [discovery("/")["resources"]["projects"]]
    while left:
        resource = left.pop()
        left.extend(resource.get("resources", {}).values())
        methods = resource.get("methods", {}).values()
        found.extend((method["httpMethod"], method["path"], method) for method in methods)
    # An asset's name may hold anything, so that verbs after it come first: the longer paths.
    found.sort(key=lambda item: -len(item[1]))
    return tuple(
        (verb, _pattern(path, method["parameters"]), method["id"].removeprefix("earthengine."))
        for verb, path, method in found
    )


def _pattern(path: str, parameters: dict[str, Any]) -> re.Pattern[str]:
    def group(match: re.Match[str]) -> str:
        pattern = str(parameters[match[1]].get("pattern", "[^/]+"))
        return pattern.removeprefix("^").removesuffix("$")

    return re.compile("/" + re.sub(r"\{\+?(\w+)\}", group, path))


def _wheel(name: str) -> Path:
    # Looked up, not imported: importing the client takes a second, and the sandbox has no other use for it.
    spec = importlib.util.find_spec("ee")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "tests", name)
        if path.is_file():
            return path
    raise FileNotFoundError(f"earthengine-api must be installed with its ee/tests/{name}")


def _parameter(location: str, **more: Any) -> dict[str, Any]:
    return {"description": "", "location": location, "type": "string"} | copy.deepcopy(more)


def _post(resource: str, method: str, path: str) -> dict[str, Any]:
    key = "project" if ":" in path else "parent"
    return _method(f"projects.{resource}.{method}", _POST, f"v1/{{+{key}}}/{path}", key, "^projects/[^/]+$")


def _method(name: str, verb: str, path: str, key: str, pattern: str, **query: Any) -> dict[str, Any]:
    parameters = {key: _parameter("path", required=True, pattern=pattern)}
    parameters |= {field: _parameter("query", **more) for field, more in query.items()}
    method: dict[str, Any] = {
        "id": f"earthengine.{name}",
        "httpMethod": verb,
        "path": path,
        "flatPath": path,
        "description": "",
        "parameters": parameters,
        "parameterOrder": [key],
        "response": {"type": "object"},
    }
    if verb != _GET:
        method["request"] = {"type": "object"}
    return method
