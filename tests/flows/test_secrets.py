"""Whatever a run leaves (states, results, logs, artifacts, receipts, parameters), no secret is in it."""

import json
import time

import pytest
from prefect.client.orchestration import get_client
from prefect_gcp import GcpCredentials
from prefect_gcp.cloud_storage import GcsBucket

from flows.audit import audit_output
from flows.parameters import RegionParameters
from flows.region import extract_region
from tests.cloud.fault import Fault
from tests.cloud.tokens import service_account_info
from tests.flows.conftest import BUCKET, UNPACED, files
from tests.given import call, parameters_of

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
SCENE = "projects/sandbox/assets/landsat8_224078_20200518"


def everything(kind, ids):
    """All that the server keeps of a kind for some flow runs."""
    wanted = {"any_": ids}
    narrowed = {
        "flow_runs": {"flow_runs": {"id": wanted}},
        "task_runs": {"flow_runs": {"id": wanted}},
        "artifacts": {"artifacts": {"flow_run_id": wanted}},
        "logs": {"logs": {"flow_run_id": wanted}},
    }
    with get_client(sync_client=True) as client:
        answer = client._client.post(f"/{kind}/filter", json=narrowed[kind] | {"limit": 200})
        answer.raise_for_status()
        found = answer.json()
        if kind.endswith("runs"):
            field = "flow_run_id" if kind == "flow_runs" else "task_run_id"
            for run in list(found):
                found += client._client.get(f"/{kind[:-1]}_states/", params={field: run["id"]}).json()
    return found


def test_no_secret_is_in_anything_that_a_run_leaves(sandbox_url, cloud, tmp_path):
    key = service_account_info(f"{cloud.url}/token")
    credentials = GcpCredentials(service_account_info=key)
    credentials.save("secret-key", overwrite=True)
    block = GcsBucket(bucket=BUCKET, bucket_folder=tmp_path.name, gcp_credentials=credentials)
    block.save("secret-bucket", overwrite=True)
    cloud.requires_token = True
    given = {
        "image": {"asset": SCENE},
        "region": [-54.60, -25.30, -54.55, -25.26],
        "scale": 60,
        "project": "my-project",
        "endpoint": sandbox_url,
        "output": block,  # by value: what is kept of it is its slug
        "run_retries": 0,
        **UNPACED,
    }
    parameters = parameters_of(RegionParameters, **given)
    assert parameters.output == "gcs-bucket/secret-bucket"
    whole = extract_region(**parameters.given(), return_state=True)
    again = extract_region(**parameters.given(), return_state=True)
    audited = call(audit_output, output="gcs-bucket/secret-bucket", run_retries=0, return_state=True)
    assert [state.name for state in (whole, again, audited)] == ["Completed"] * 3
    failed = []
    for fault in ({"status": 401}, {"status": 403}, {"status": 400, "message": json.dumps(key)}):
        cloud.faults[:] = [Fault(match="POST /upload/", **fault)]
        failed.append(call(extract_region, **given | {"scale": 90}, return_state=True))
    cloud.faults.clear()
    cloud.refuse_tokens = True
    cloud.expire_tokens()
    failed.append(extract_region(**parameters.given(), return_state=True))
    assert {state.name for state in failed} == {"Failed"}
    time.sleep(3)  # logs are sent in bundles
    states = [whole, again, audited, *failed]
    ids = [str(state.state_details.flow_run_id) for state in states]
    kept = {kind: everything(kind, ids) for kind in ("flow_runs", "task_runs", "artifacts", "logs")}
    assert all(kept.values())
    assert {log["flow_run_id"] for log in kept["logs"]} == set(ids)
    objects = {name: stored.data for name, stored in cloud.objects(BUCKET).items()}
    assert {"receipts"} <= {part for name in objects for part in name.split("/")}
    text = json.dumps(kept) + repr([state.model_dump() for state in states]) + repr((objects, files(tmp_path)))
    secrets = [key["private_key_id"], "ya29.", *key["private_key"].split("\n")[1:-2]]
    assert len(secrets) > 10
    for secret in secrets:
        assert secret not in text
