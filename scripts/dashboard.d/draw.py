"""Draws the panels of a Grafana dashboard from what a Prometheus answers to their queries."""

import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter
from PIL import Image

STEP = 2
NAMED = {"green": "#56a64b", "yellow": "#e0b400", "orange": "#ff780a", "red": "#e02f44",
         "dark-red": "#8f1427", "purple": "#8f3bb8"}
PALETTE = ["#3274d9", "#56a64b", "#0a9396", "#ff9f4a", "#4cc9f0", "#7f5539", "#b5838d", "#3d405b", "#a3b18a", "#6c757d"]


class Prometheus:
    """Asks with the dashboard's variables filled in."""

    def __init__(self, address, seconds):
        self.address = address
        self.end = time.time()
        self.begin = self.end - seconds

    def ask(self, path, query, **more):
        query = query.replace("$__rate_interval", "16s")
        query = re.sub(r"\$(cluster|namespace|job|instance|target)\b", ".*", query)
        url = f"{self.address}/api/v1/{path}?{urllib.parse.urlencode({'query': query, **more})}"
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)["data"]["result"]

    def last(self, query):
        return self.ask("query", query, time=self.end)

    def course(self, query):
        return self.ask("query_range", query, start=self.begin, end=self.end, step=STEP)


def words(unit, value):
    """A value as people read it."""
    if math.isnan(value):
        return "-"
    if unit == "s":
        for size, name in ((3600, "h"), (60, "min"), (1, "s")):
            if abs(value) >= size:
                return f"{value / size:.3g} {name}"
        return f"{value * 1000:.3g} ms" if value else "0"
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    if abs(value) >= 1000:
        return f"{value / 1000:.3g}k"
    return f"{value:.3g}" + ("/s" if unit == "ops" else "")


def legend(target, labels):
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), target["legendFormat"]).strip() or "value"


def colour_of(panel, name, number):
    for override in panel["fieldConfig"]["overrides"]:
        if re.fullmatch(override["matcher"]["options"], name):
            return NAMED[override["properties"][0]["value"]["fixedColor"]]
    return PALETTE[number % len(PALETTE)]


def stat(axes, panel, prometheus):
    defaults = panel["fieldConfig"]["defaults"]
    found = prometheus.last(panel["targets"][0]["expr"])
    value = float(found[0]["value"][1]) if found else math.nan
    name = legend(panel["targets"][0], found[0]["metric"]) if found else ""
    steps = [step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    plain = panel["options"]["colorMode"] == "none"
    axes.set_facecolor("white" if plain else NAMED[steps[-1]])
    text = words(defaults["unit"], round(value, defaults["decimals"]) if "decimals" in defaults and found else value)
    text += f"  (version {name})" if panel["options"]["textMode"] == "value_and_name" else ""
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=15 if "(" in text else 22, color="#222" if plain else "white",
              weight="bold", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])


def timeline(axes, panel, prometheus):
    meanings = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    found = sorted(prometheus.course(panel["targets"][0]["expr"]), key=lambda series: series["metric"].get("target", ""), reverse=True)
    for row, series in enumerate(found):
        for moment, value in series["values"]:
            axes.broken_barh([(moment / 86400, STEP / 86400)], (row - 0.4, 0.8), color=NAMED[meanings[str(int(float(value)))]["color"]], linewidth=0)
    axes.set_yticks(range(len(found)), [legend(panel["targets"][0], series["metric"]) for series in found])
    handles = [plt.Rectangle((0, 0), 1, 1, color=NAMED[meaning["color"]]) for meaning in meanings.values()]
    axes.legend(handles, [meaning["text"] for meaning in meanings.values()], loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=5,
                fontsize=7, frameon=False)


def timeseries(axes, panel, prometheus):
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    curves = [(legend(target, series["metric"]), {float(at): float(value) for at, value in series["values"]})
              for target in panel["targets"] for series in prometheus.course(target["expr"])]
    moments = [prometheus.begin + step * STEP for step in range(int((prometheus.end - prometheus.begin) / STEP) + 1)]
    below = [0.0] * len(moments)
    stacked, bars = custom["stacking"]["mode"] == "normal", custom["drawStyle"] == "bars"
    days = [moment / 86400 for moment in moments]
    for number, (name, curve) in enumerate(sorted(curves)):
        near = {round((at - prometheus.begin) / STEP): value for at, value in curve.items()}
        values = [near.get(step, math.nan) for step in range(len(moments))]
        colour = colour_of(panel, name, number)
        if stacked or bars:
            top = [low + (0 if math.isnan(value) else value) for low, value in zip(below, values)]
            axes.fill_between(days, below, top, color=colour, alpha=0.75, linewidth=0, label=name, step="mid" if bars else None)
            below = top if stacked else below
        else:
            axes.plot(days, values, color=colour, linewidth=1.2, label=name)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words(defaults["unit"], value)))
    axes.grid(alpha=0.25)
    if curves:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=4, fontsize=6.5, frameon=False, handlelength=1.2, columnspacing=1)
    else:
        axes.text(0.5, 0.5, "nothing of that kind", ha="center", va="center", color="#888", transform=axes.transAxes)


DRAWN = {"stat": stat, "state-timeline": timeline, "timeseries": timeseries}


def main(address, dashboard, picture, seconds):
    prometheus = Prometheus(address, float(seconds))
    with open(dashboard) as file:
        panels = json.load(file)["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(17, height * 0.42), facecolor="#f4f5f5")
    for panel in panels:
        place = panel["gridPos"]
        top = 1 - place["y"] / height
        if panel["type"] == "row":
            figure.text(0.012, top - 0.6 / height, panel["title"], fontsize=13, weight="bold", va="center")
            continue
        small = panel["type"] == "stat"
        left = place["x"] / 24 + (0.012 if small else 0.035 if panel["type"] == "timeseries" else 0.04)
        width = place["w"] / 24 - (0.02 if small else 0.048)
        low, over = (0.4, 1.3) if small else (2.0, 1.2)
        axes = figure.add_axes((left, top - (place["h"] - low) / height, width, (place["h"] - low - over) / height))
        axes.set_title(panel["title"], fontsize=9, loc="left")
        axes.tick_params(labelsize=7)
        DRAWN[panel["type"]](axes, panel, prometheus)
        if not small:
            axes.set_xlim(prometheus.begin / 86400, prometheus.end / 86400)
            axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
            axes.xaxis.set_major_locator(dates.MinuteLocator(interval=2 if place["w"] < 12 else 1))
        for spine in axes.spines.values():
            spine.set_color("#ccc")
    figure.savefig(picture, dpi=75)
    # A few colours are enough, and a third of the bytes.
    Image.open(picture).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(picture, optimize=True)


main(*sys.argv[1:])
