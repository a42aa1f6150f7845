"""Flame graphs as SVG: one file, no other needed, that zooms and searches in a browser.

The width of a box is its samples, its place among its siblings is alphabetical; what calls stands below what it calls.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

WIDTH = 1200
_ROW = 17
_PAD = 10
_TOP = 58
_BOTTOM = 34
_CHAR = 7.0  # pixels of a letter
_LEAST = 0.1  # narrower boxes are left out


@dataclass(slots=True)
class _Node:
    name: str
    count: int = 0
    inner: dict[str, _Node] = field(default_factory=dict)


def _tree(paths: Iterable[tuple[tuple[str, ...], int]]) -> _Node:
    root = _Node("all")
    for names, count in paths:
        node = root
        node.count += count
        for name in names:
            found = node.inner.get(name)
            if found is None:
                found = node.inner[name] = _Node(name)
            found.count += count
            node = found
    return root


def _color(name: str) -> str:
    """Warm for user space, blue for the kernel, green for JITs; the same name has the same shade."""
    shade = zlib.crc32(name.encode("utf-8", "replace")) / 0xFFFF_FFFF
    other = zlib.crc32(name[::-1].encode("utf-8", "replace")) / 0xFFFF_FFFF
    if name.endswith("_[k]"):
        hue, light = 205 + 25 * shade, 66 + 10 * other
    elif name.endswith("_[j]"):
        hue, light = 95 + 35 * shade, 58 + 12 * other
    else:
        hue, light = 12 + 38 * shade, 60 + 12 * other
    return f"hsl({hue:.0f},80%,{light:.0f}%)"


def write_flame(
    paths: Iterable[tuple[tuple[str, ...], int]], *, title: str = "Flame graph", unit: str = "samples", note: str = ""
) -> str:
    """The SVG's text. note: a second line of the heading."""
    root = _tree(paths)
    scale = (WIDTH - 2 * _PAD) / root.count if root.count else 0.0
    boxes: list[tuple[_Node, int, int]] = []  # node, first sample, depth
    stack: list[tuple[_Node, int, int]] = [(root, 0, 0)]
    while stack:
        node, start, depth = stack.pop()
        if depth and node.count * scale < _LEAST:
            continue
        boxes.append((node, start, depth))
        at = start
        for name in sorted(node.inner):
            stack.append((node.inner[name], at, depth + 1))
            at += node.inner[name].count
    deepest = max(depth for _, _, depth in boxes)
    height = _TOP + (deepest + 1) * _ROW + _BOTTOM
    out = [_HEAD.format(width=WIDTH, height=height, title=escape(title), note=escape(note), pad=_PAD, middle=WIDTH // 2,
                        right=WIDTH - _PAD, foot=height - 14, total=max(root.count, 1), unit=escape(unit))]  # fmt: skip
    for node, start, depth in boxes:
        x, width = _PAD + start * scale, node.count * scale
        y = height - _BOTTOM - (depth + 1) * _ROW
        share = 100 * node.count / root.count if root.count else 0.0
        letters = int((width - 6) / _CHAR)
        shown = node.name if len(node.name) <= letters else node.name[: letters - 2] + ".." if letters >= 3 else ""
        color = "hsl(0,0%,82%)" if not depth else _color(node.name)
        name = escape(_printable(node.name))
        out.append(
            f'<g class="f" data-x="{start}" data-w="{node.count}" data-n="{name}">'
            f"<title>{name} ({node.count} {escape(unit)}, {share:.2f}%)</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{max(width, 0.1):.1f}" height="{_ROW - 1}" fill="{color}" rx="2"/>'
            f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(_printable(shown))}</text></g>\n'
        )
    out.append("</g>\n</svg>\n")
    return "".join(out)


def _printable(text: str) -> str:
    """XML takes no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


_HEAD = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 onload="start()">
<style>
text {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 11.5px; fill: #111; }}
text {{ pointer-events: none; }}
.f {{ cursor: pointer; }}
.f:hover rect {{ stroke: #000; stroke-width: 0.7; }}
.b {{ cursor: pointer; pointer-events: all; fill: #555; }}
.dim {{ opacity: 0.45; }}
.hit rect {{ fill: hsl(300,85%,68%); }}
</style>
<script><![CDATA[
var total = {total}, unit = "{unit}", left = {pad}, wide = {width} - 2 * {pad}, from = 0, to = total, needle = null;
function frames() {{ return document.getElementsByClassName("f"); }}
function num(f, k) {{ return parseFloat(f.getAttribute(k)); }}
function start() {{
  Array.prototype.forEach.call(frames(), function (f) {{
    f.addEventListener("click", function () {{ zoom(num(f, "data-x"), num(f, "data-w")); }});
    f.addEventListener("mouseover", function () {{ say(f.querySelector("title").textContent); }});
    f.addEventListener("mouseout", function () {{ say(""); }});
  }});
  document.getElementById("reset").addEventListener("click", function () {{ zoom(0, total); }});
  document.getElementById("search").addEventListener("click", ask);
  window.addEventListener("keydown", function (e) {{
    if ((e.ctrlKey && e.key === "f") || e.key === "/") {{ e.preventDefault(); ask(); }}
    if (e.key === "Escape") {{ zoom(0, total); }}
  }});
}}
function say(t) {{ document.getElementById("details").textContent = t; }}
function zoom(x, w) {{
  from = x; to = x + w;
  document.getElementById("reset").style.display = w < total ? "block" : "none";
  Array.prototype.forEach.call(frames(), function (f) {{
    var a = num(f, "data-x"), b = a + num(f, "data-w"), s = Math.max(a, from), e = Math.min(b, to);
    if (e <= s) {{ f.style.display = "none"; return; }}
    var px = left + (s - from) * wide / w, pw = (e - s) * wide / w;
    var r = f.querySelector("rect"), t = f.querySelector("text");
    f.style.display = "block";
    f.classList.toggle("dim", a < from || b > to);
    r.setAttribute("x", px); r.setAttribute("width", Math.max(pw, 0.1)); t.setAttribute("x", px + 3);
    var n = f.getAttribute("data-n"), c = Math.floor((pw - 6) / 7);
    t.textContent = n.length <= c ? n : c >= 3 ? n.slice(0, c - 2) + ".." : "";
  }});
}}
function ask() {{
  var t = prompt("Search for a regular expression:", needle || "");
  needle = t;
  var re = null, sum = 0, ends = 0, found = [];
  try {{ re = t ? new RegExp(t) : null; }} catch (error) {{ re = null; }}
  Array.prototype.forEach.call(frames(), function (f) {{
    var hit = re !== null && re.test(f.getAttribute("data-n"));
    f.classList.toggle("hit", hit);
    if (hit) {{ found.push([num(f, "data-x"), num(f, "data-w")]); }}
  }});
  found.sort(function (a, b) {{ return a[0] - b[0] || b[1] - a[1]; }});
  found.forEach(function (p) {{
    var end = p[0] + p[1];
    if (end > ends) {{ sum += end - Math.max(ends, p[0]); ends = end; }}
  }});
  document.getElementById("matched").textContent = re ? "Matched: " + (100 * sum / total).toFixed(1) + "%" : "";
}}
]]></script>
<rect x="0" y="0" width="{width}" height="{height}" fill="#fcfbf7"/>
<text x="{middle}" y="22" text-anchor="middle" style="font-size:16px">{title}</text>
<text x="{middle}" y="38" text-anchor="middle" style="fill:#666">{note}</text>
<text id="reset" class="b" x="{pad}" y="22" style="display:none">Reset zoom</text>
<text id="search" class="b" x="{right}" y="22" text-anchor="end">Search</text>
<text id="details" x="{pad}" y="{foot}"> </text>
<text id="matched" x="{right}" y="{foot}" text-anchor="end"> </text>
<g id="frames">
"""
