"""Holds the Grafana dashboard to its rules, and writes its queries as rules for promtool: dashboard.py DASHBOARD RULES."""

import json
import re
import sys

import yaml

# Four scrapes of a Prometheus that scrapes once a minute.
SHORTEST = 4 * 60
SCOPE = ["cluster", "namespace", "job", "instance"]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

with open(sys.argv[1]) as file:
    dashboard = json.load(file)
mistakes = []
queries = []
for panel in dashboard["panels"]:
    targets = panel.get("targets", [])
    queries += [(panel["title"], target["expr"]) for target in targets]
    if targets and all(target["expr"].endswith("> 0") for target in targets):
        mistakes.append(f"{panel['title']}: shows no data while all is well")
for title, query in queries:
    for number, unit in re.findall(r"\[(\d+)(\w)\]", query):
        if int(number) * UNITS[unit] < SHORTEST:
            mistakes.append(f"{title}: [{number}{unit}] holds fewer than four scrapes")
    for selector in re.findall(r"(?:user_courier|process)_\w+({[^}]*})?", query):
        missing = [name for name in SCOPE if f'{name}=~"${name}"' not in selector]
        if missing:
            mistakes.append(f"{title}: a selector leaves out {', '.join(missing)}")
titles = [panel["title"] for panel in dashboard["panels"]]
mistakes += [f"two panels are called {title}" for title in set(titles) if titles.count(title) > 1]

with open("docs/runbook.md") as file:
    sections = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", file.read(), re.M)}
for section in re.findall(r"\$\{runbook:raw\}#([\w-]+)", json.dumps(dashboard)):
    if section not in sections:
        mistakes.append(f"the runbook has no section {section}")
if mistakes:
    sys.exit("the dashboard: " + "; ".join(mistakes))

filled = [re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "4m")) for _, query in queries]
rules = [{"record": f"panel:{at}", "expr": query} for at, query in enumerate(filled)]
with open(sys.argv[2], "w") as file:
    yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
