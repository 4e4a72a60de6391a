"""Paints the gallery, whole or the techniques named: `make gallery`, `make gallery ONLY="saliency rise"`."""

from __future__ import annotations

import sys

from _gallery.pages import PICTURES
from _gallery.paint import paint
from _gallery.plan import read_plan

plan = read_plan()
if unknown := set(sys.argv[1:]) - plan.keys():
    sys.exit(f"not in the plan: {', '.join(sorted(unknown))}; there are {', '.join(plan)}")
for line in paint([plan[name] for name in sys.argv[1:] or plan], PICTURES):
    print(line, flush=True)
