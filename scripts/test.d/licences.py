"""Holds every dependency to deny.toml: licences, sources, no wildcards. Reads what `cargo metadata --format-version 1` prints.

`cargo deny check` does the same and more, and takes minutes to build; what it is told is read from the same file.
"""

import json
import re
import sys
import tomllib

CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"

with open("deny.toml", "rb") as file:
    rules = tomllib.load(file)
everywhere = set(rules["licenses"]["allow"])
exceptions = {exception["crate"]: set(exception["allow"]) for exception in rules["licenses"].get("exceptions", [])}


def is_allowed(expression, allowed):
    """Whether an SPDX expression, or the older form with slashes, leaves a choice that is allowed."""
    tokens = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))

    def alternatives():
        result = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = conjunction() or result
        return result

    def conjunction():
        result = term()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = term() and result
        return result

    def term():
        token = tokens.pop(0)
        if token != "(":
            return token in allowed
        result = alternatives()
        tokens.pop(0)
        return result

    return alternatives()


metadata = json.load(sys.stdin)
members = set(metadata["workspace_members"])
mistakes = []
for package in metadata["packages"]:
    name = f"{package['name']} {package['version']}"
    if not is_allowed(package["license"] or "none", everywhere | exceptions.get(package["name"], set())):
        mistakes.append(f"{name} has the licence {package['license']}")
    if package["id"] in members:
        mistakes += [f"{name} takes any version of {dependency['name']}" for dependency in package["dependencies"] if dependency["req"] == "*" and not dependency.get("path")]
    elif package["source"] != CRATES_IO:
        mistakes.append(f"{name} comes from {package['source']}")
if mistakes:
    sys.exit("deny.toml does not let in:\n  " + "\n  ".join(mistakes))
print(f"{len(metadata['packages'])} packages fit deny.toml", file=sys.stderr)
