"""Does with a package of Home Assistant what its `rest` integration does, and prints the entities as JSON.

    python3 home_assistant.py package.yaml secrets.yaml

Home Assistant itself is not run. Real are its two parsers, PyYAML and Jinja2; the rest follows its source as it was in 2026
(components/rest/{schema,data,sensor,binary_sensor}.py, helpers/trigger_template_entity.py):
- a key that its schema does not know is refused;
- headers are templates; the body counts whatever the status is, and becomes `value`, and `value_json` where it is JSON;
- no answer makes every entity unavailable;
- `availability` is rendered first, with undefined variables an error; if it is false, nothing else is rendered;
- json_attributes are picked from the top of the JSON; a binary sensor is on for a number but 0, and for true, on, open and yes.
Stricter than there: a template that fails, which would only be logged, ends this program.
"""

import json
import sys
import urllib.error
import urllib.request

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

RESOURCE = set("""resource resource_template authentication headers params method username password payload payload_template verify_ssl
    ssl_cipher_list timeout encoding scan_interval sensor binary_sensor""".split())
ENTITY = set("name unique_id icon picture availability device_class force_update value_template".split())
KEYS = {"sensor": ENTITY | set("state_class unit_of_measurement json_attributes json_attributes_path".split()), "binary_sensor": ENTITY}
ON = ("true", "on", "open", "yes")

package, secrets = sys.argv[1:]
with open(secrets, encoding="utf-8") as file:
    SECRETS = yaml.safe_load(file)
yaml.SafeLoader.add_constructor("!secret", lambda _, node: SECRETS[node.value])
jinja = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


def main():
    with open(package, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    assert set(config) == {"rest"}
    print(json.dumps([entity for resource in config["rest"] for entity in entities(resource)]))


def entities(resource):
    refuse_unknown(resource, RESOURCE)
    body = fetch(resource)
    for platform, keys in KEYS.items():
        for entity in resource.get(platform, []):
            refuse_unknown(entity, keys)
            yield {"entity": platform, "unique_id": entity["unique_id"], **state_of(platform, entity, body)}


def refuse_unknown(given, known):
    if unknown := set(given) - known:
        sys.exit(f"Home Assistant knows no {', '.join(unknown)} here")


def fetch(resource):
    headers = {name: render(value, {}) for name, value in resource.get("headers", {}).items()}
    request = urllib.request.Request(resource["resource"], method=resource.get("method", "GET"), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=resource.get("timeout", 10)) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.read().decode()
    except urllib.error.URLError:
        return None


def state_of(platform, entity, body):
    if body is None:
        return {"state": "unavailable"}
    variables = {"value": body}
    try:
        variables["value_json"] = json.loads(body)
    except ValueError:
        pass
    if "availability" in entity and render(entity["availability"], variables) != "True":
        return {"state": "unavailable"}
    value = render(entity["value_template"], variables) if "value_template" in entity else body
    if platform == "binary_sensor":
        is_on = int(value) != 0 if value.lstrip("-").isdigit() else value.lower() in ON
        return {"state": "on" if is_on else "off"}
    whole = variables.get("value_json")
    attributes = {name: whole[name] for name in entity.get("json_attributes", []) if name in whole}
    return {"state": value, "attributes": attributes}


def render(template, variables):
    return jinja.from_string(template).render(variables).strip()


main()
