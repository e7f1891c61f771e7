"""Holds the built Kubernetes manifests to what the service needs: manifests.py BASE.yaml KEDA.yaml CONSOLE.yaml, as `kubectl kustomize` prints them."""

import sys
import tomllib

import yaml

# After drain_timeout: the last transaction (10 s), leaving the group (5 s).
AFTER_DRAIN = 15
BASE = ["ConfigMap", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"]
SCALED_OBJECT = {"scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount", "fallback", "advanced", "triggers"}
mistakes = []


def expect(true, words):
    if not true:
        mistakes.append(words)


def seconds(duration):
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    number = duration.rstrip("msh")
    return int(number) * units[duration[len(number):]]


def read(path):
    with open(path) as file:
        return {document["kind"]: document for document in yaml.safe_load_all(file)}


def is_within(labels, selector):
    return selector.items() <= labels.items()


def check_base(parts):
    expect(sorted(parts) == BASE, f"the parts are {sorted(parts)}")
    expect(all(kind == "Namespace" or part["metadata"]["namespace"] == "user-courier" for kind, part in parts.items()), "a part has no namespace")
    stateful = parts["StatefulSet"]["spec"]
    pod = stateful["template"]["spec"]
    labels = stateful["template"]["metadata"]["labels"]
    container, = pod["containers"]
    config = tomllib.loads(parts["ConfigMap"]["data"]["user-courier.toml"])

    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        expect(container[probe]["httpGet"] == {"path": path, "port": "admin"}, f"{probe} asks something else than {path}")
    drain = seconds(config.get("shutdown", {}).get("drain_timeout", "20s"))
    expect(pod["terminationGracePeriodSeconds"] >= drain + AFTER_DRAIN, "the grace period ends before the drain")
    port = int(config["admin"]["listen"].rsplit(":", 1)[1])
    expect(container["ports"] == [{"name": "admin", "containerPort": port}], "the port is not the one of admin.listen")

    expect(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, "it may run as root")
    expect(pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, "there is no seccomp profile")
    expect(not pod["automountServiceAccountToken"], "a token for Kubernetes is mounted")
    own = container["securityContext"]
    expect(own["readOnlyRootFilesystem"] and not own["allowPrivilegeEscalation"], "the root can be written, or privileges gained")
    expect(own["capabilities"] == {"drop": ["ALL"]}, "it has capabilities")
    expect("memory" in container["resources"]["limits"], "memory has no limit")

    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    expect(volumes["config"]["configMap"]["name"] == parts["ConfigMap"]["metadata"]["name"] != "user-courier",
           "the config map is not mounted by its hashed name")
    expect(all(mount["readOnly"] and "subPath" not in mount for mount in container["volumeMounts"]), "a mount can be written, or is never renewed")
    secrets = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "secrets")
    files = [value for section in [config["kafka"]["properties"], *config["targets"].values()]
             for key, value in section.items() if key.endswith(("_file", ".location"))]
    expect(files and all(file.startswith(f"{secrets}/") for file in files), f"a secret is looked for outside of {secrets}: {files}")

    for kind in ["PodDisruptionBudget", "NetworkPolicy"]:
        spec = parts[kind]["spec"]
        selector = (spec.get("selector") or spec.get("podSelector"))["matchLabels"]
        expect(is_within(labels, selector), f"{kind} selects other pods")
    expect(parts["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1, "more than one may be disrupted at once")
    expect(sorted(parts["NetworkPolicy"]["spec"]["policyTypes"]) == ["Egress", "Ingress"], "the network policy leaves a way open")
    expect(is_within(labels, parts["Service"]["spec"]["selector"]) and parts["Service"]["spec"]["clusterIP"] == "None", "the service is another")


def check_keda(base, parts):
    scaled = parts.pop("ScaledObject")["spec"]
    expect("replicas" in base["StatefulSet"]["spec"] and "replicas" not in parts["StatefulSet"]["spec"], "both KEDA and the set say how many")
    parts["StatefulSet"]["spec"]["replicas"] = base["StatefulSet"]["spec"]["replicas"]
    expect(parts == base, "beside the scaling, something differs from the base")
    expect(set(scaled) == SCALED_OBJECT, f"the scaled object has {sorted(scaled)}")
    expect(scaled["scaleTargetRef"] == {"kind": "StatefulSet", "name": base["StatefulSet"]["metadata"]["name"]}, "something else is scaled")
    expect(1 <= scaled["minReplicaCount"] <= scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"], "the numbers of replicas do not fit")
    trigger, = scaled["triggers"]
    expect(all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes strings only")
    expect("user_courier_consumer_lag" in trigger["metadata"]["query"], "it is not scaled by lag")
    expect(trigger["metadata"]["ignoreNullValues"] == "false", "missing metrics count as no lag")


def check_console(base, path):
    """The base is as it is alone, and the console reaches what it asks."""
    with open(path) as file:
        parts = {(part["kind"], part["metadata"]["name"]): part for part in yaml.safe_load_all(file)}
    for kind, part in base.items():
        expect(parts.pop((kind, part["metadata"]["name"])) == part, f"beside the console, {kind} differs from the base")
    names = [("Deployment", "user-courier-console"), ("NetworkPolicy", "user-courier-console"), ("NetworkPolicy", "user-courier-from-console")]
    expect(sorted(parts) == names, f"the console's parts are {sorted(parts)}")
    console, out, into = (parts[name]["spec"] for name in names)
    labels = console["template"]["metadata"]["labels"]
    service = base["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    pod = console["template"]["spec"]
    container, = pod["containers"]
    expect(not is_within(labels, base["Service"]["spec"]["selector"]), "the console counts as an instance")
    expect(is_within(labels, out["podSelector"]["matchLabels"]) and "ingress" not in out, "something may come to the console")
    expect(is_within(service, into["podSelector"]["matchLabels"]), "the console may ask somebody else")
    expect(is_within(labels, into["ingress"][0]["from"][0]["podSelector"]["matchLabels"]), "the console may not ask")
    expect(container["args"][-1].startswith("127.0.0.1:"), "it listens where others reach it")
    environment = {one["name"]: one["value"] for one in container["env"]}
    instances = [f"http://user-courier-{at}.user-courier:9464" for at in range(base["StatefulSet"]["spec"]["replicas"])]
    expect(environment["USER_COURIER__CONSOLE__INSTANCES"].split(",") == instances, "it asks other instances than there are")
    expect(pod["volumes"] == base["StatefulSet"]["spec"]["template"]["spec"]["volumes"], "it has another configuration")
    theirs = base["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]
    for same in ["image", "securityContext", "volumeMounts"]:
        expect(container[same] == theirs[same], f"its {same} differs")


base = read(sys.argv[1])
check_base(base)
check_keda(base, read(sys.argv[2]))
check_console(base, sys.argv[3])
if mistakes:
    sys.exit("deploy/kubernetes: " + "; ".join(mistakes))
