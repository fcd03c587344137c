"""Drives the API with the product's own client; prints what it saw as one JSON object."""

import json
import logging
import time

from databricks.sdk import WorkspaceClient
from databricks.sdk.service import apps

logging.disable(logging.WARNING)
client = WorkspaceClient()
facts = {"me": client.current_user.me().user_name}


def raised(call):
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return None


def health_check(timeout):
    """The class came with 0.148; its name is the SDK's business."""
    field = apps.AppDeployment.__dataclass_fields__["health_check"]
    kind = getattr(apps, str(field.type).removeprefix("Optional[").rstrip("]").strip("'\""), None)
    return kind.from_dict({"timeout": timeout})


app = client.apps.create_and_wait(apps.App(name="sdk-app", compute_min_instances=2, compute_max_instances=2))
facts["created"] = {
    "compute": app.compute_status.state.value,
    "min": app.compute_min_instances,
    "max": app.compute_max_instances,
    "app": app.app_status.state.value,
}

deployment = client.apps.deploy_and_wait(
    "sdk-app",
    apps.AppDeployment(
        source_code_path="examples/hello",
        mode=apps.AppDeploymentMode.SNAPSHOT,
        env_vars=[apps.EnvVar(name="HELLO_VERSION", value="7")],
        health_check=health_check("30s"),
    ),
)
facts["deployed"] = {
    "state": deployment.status.state.value,
    "env": [[variable.name, variable.value] for variable in deployment.env_vars],
    "timeout": deployment.as_dict()["health_check"]["timeout"],
}
app = client.apps.get("sdk-app")
facts["running"] = {
    "app": app.app_status.state.value,
    "running": app.app_status.running_instances,
    "active": app.compute_status.active_instances,
}

try:
    client.apps.deploy_and_wait(
        "sdk-app", apps.AppDeployment(source_code_path="examples/hello", command=["node", "-e", "process.exit(3)"])
    )
except Exception as error:
    facts["failed"] = str(error)

app = client.apps.stop_and_wait("sdk-app")
facts["stopped"] = {
    "compute": app.compute_status.state.value,
    "app": app.app_status.state.value,
    "deployment": app.active_deployment,
}
app = client.apps.start_and_wait("sdk-app")
facts["started"] = {"compute": app.compute_status.state.value, "running": app.app_status.running_instances}

client.apps.create_and_wait(apps.App(name="other"))


def resize(name, count):
    mask = "compute_min_instances,compute_max_instances"
    body = apps.App(name=name, compute_min_instances=count, compute_max_instances=count)
    return client.apps.create_update_and_wait(name, mask, app=body)


update = resize("sdk-app", 3)
facts["updated"] = {
    "state": update.status.state.value,
    "max": update.compute_max_instances,
    "running": client.apps.get("sdk-app").app_status.running_instances,
}
facts["converted"] = resize("other", 1).status.state.value
back = client.apps.create_update_and_wait("other", "compute_min_instances,compute_max_instances", app=apps.App(name="other"))
facts["back"] = [back.status.state.value, back.compute_max_instances]
facts["too many at once"] = raised(lambda: resize("other", 2))

facts["apps"] = [one.name for one in client.apps.list(page_size=1)]
facts["deployments"] = len(list(client.apps.list_deployments("sdk-app", page_size=1)))

facts["errors"] = {
    "taken": raised(lambda: client.apps.create(apps.App(name="sdk-app"))),
    "unknown": raised(lambda: client.apps.get("nope")),
    "name": raised(lambda: client.apps.create(apps.App(name="Not-A-Name"))),
    "limit": raised(
        lambda: client.apps.create(apps.App(name="six", compute_min_instances=6, compute_max_instances=6))
    ),
    "state": raised(lambda: client.apps.start("sdk-app")),
}

deleted = client.apps.delete("sdk-app").compute_status.state.value
gone = None
for _ in range(300):
    gone = raised(lambda: client.apps.get("sdk-app"))
    if gone is not None:
        break
    time.sleep(0.1)
facts["deleted"] = [deleted, gone]

print(json.dumps(facts))
