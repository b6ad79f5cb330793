"""Figures of clips that `generate.py` wrote: ``python -m jaxtalk.evaluate out/flow --truth=out/procedural``.

Without a truth there are the figures that need none: closures and lags of the lips, correlation with loudness, jitter,
blinks, head, beats, variety, speed. With one, clips are paired by their ids, and errors are measured on the studio's
head. Nothing here imports JAX before the command line is known to be right.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jaxtalk.cli import one_line
from jaxtalk.core import InputError, JaxtalkError

if TYPE_CHECKING:
  from jaxtalk.clips.reader import StoredClip
  from jaxtalk.metrics.clip_measures import Findings
  from jaxtalk.metrics.result import MetricResult

NAME, SCHEMA = "python -m jaxtalk.evaluate", "jaxtalk.evaluation/1"
_HEADER = ("", "value", "truth", "unit", "95 % CI", "macro", "fps", "clips", "frames", "mask", "representation")
_LEFT = (0, 3, 9, 10)  # columns of text


class _Parser(argparse.ArgumentParser):
  def error(self, message: str) -> NoReturn:
    raise InputError(f"{message}; see {NAME} --help")


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program and returns its exit code; errors are one line on stderr."""
  try:
    arguments = _parser().parse_args(argv)
    report = evaluate(arguments.predicted, arguments.truth)
    if arguments.out is not None:
      _write(arguments.out, report)
    print(table(report))
    return 0
  except JaxtalkError as error:
    print(f"{NAME}: {one_line(error)}", file=sys.stderr)
    return error.exit_code
  except KeyboardInterrupt:
    print(f"{NAME}: stopped", file=sys.stderr)
    return 130


def evaluate(predicted: Path, truth: Path | None = None) -> dict[str, Any]:
  """All figures, as the JSON that the program writes.

  Args:
    predicted: a folder that `generate.py` wrote, or one clip's .json or .npz.
    truth: the same for the clips that they should have been; None if there are none.

  Returns:
    "schema", "predicted", "truth", "clips" (ids), "notes"; "compared" with "results" (`MetricResult.as_dict`) and
    "not_measured" (name -> reason), None without a truth; "measured", the same without a truth, and "measured_truth".

  Raises:
    InputError: a place without whole clips, clips of several rates, or clips that do not fit their truths.
  """
  from jaxtalk.clips.reader import read_clips
  from jaxtalk.metrics import clip_measures

  clips = read_clips(predicted)
  report: dict[str, Any] = {
    "schema": SCHEMA,
    "predicted": str(predicted),
    "truth": None if truth is None else str(truth),
    "clips": [clip.id for clip in clips],
    "notes": [],
    "compared": None,
    "measured": None,
    "measured_truth": None,
  }
  if truth is not None:
    known = read_clips(truth)
    wanted = clip_measures.match(clips, known)
    report["compared"] = _plain(clip_measures.compare(clips, wanted))
    report["measured_truth"] = _plain(clip_measures.measure(wanted))
    if len(known) > len(wanted):
      report["notes"].append(f"the truth has {len(known) - len(wanted)} clips more, which were left out")
    report["notes"] += _differences(clips, wanted)
  report["measured"] = _plain(clip_measures.measure(clips))
  return report


def _differences(clips: Sequence[StoredClip], truths: Sequence[StoredClip]) -> list[str]:
  """What two sets have unlike that should make a reader think twice."""
  both = list(zip(clips, truths, strict=True))
  persons = sum(x.document["identity"] != y.document["identity"] for x, y in both)
  sounds = sum(x.sound_id != y.sound_id for x, y in both)
  notes = [f"clips that show another person than their truth, whose face was used: {persons}"] if persons else []
  return notes + ([f"clips that have another sound than their truth: {sounds}"] if sounds else [])


def table(report: dict[str, Any]) -> str:
  """The report for people; figures that need no truth have that of the truth, if there is one, beside them."""
  lines = []
  for title, key in (("Against the truth", "compared"), ("By themselves", "measured")):
    if report[key] is not None:
      of_truth = report["measured_truth"] if key == "measured" else None
      lines += [title, *_rows(report[key]["results"], of_truth)]
      lines += [f"  not measured: {name}: {reason}" for name, reason in report[key]["not_measured"].items()]
      lines.append("")
  lines += [f"note: {note}" for note in report["notes"]]
  return "\n".join(lines).rstrip()


def _rows(results: Sequence[dict[str, Any]], of_truth: dict[str, Any] | None) -> list[str]:
  truths = {} if of_truth is None else {result["name"]: result["value"] for result in of_truth["results"]}
  cells = [_HEADER] + [
    (
      r["name"],
      f"{r['value']:.4g}",
      f"{truths[r['name']]:.4g}" if r["name"] in truths else "",
      r["unit"],
      f"{r['ci95'][0]:.4g} .. {r['ci95'][1]:.4g}",
      "" if r["macro"] is None else f"{r['macro']:.4g}",
      "" if r["fps"] is None else f"{r['fps'][0] / r['fps'][1]:.6g}",
      str(r["n_clips"]),
      str(r["n_frames"]),
      r["mask_sha256"][:8],
      "; ".join(text for text in (r["mask"], r["representation"]) if text),
    )
    for r in results
  ]
  shown = [i for i in range(len(_HEADER)) if any(row[i] for row in cells[1:])]
  wide = {i: max(len(row[i]) for row in cells) for i in shown}
  aligned = [[row[i].ljust(wide[i]) if i in _LEFT else row[i].rjust(wide[i]) for i in shown] for row in cells]
  return ["  " + "  ".join(row).rstrip() for row in aligned]


def _plain(findings: Findings) -> dict[str, Any]:
  results: list[MetricResult] = findings.results
  return {"results": [result.as_dict() for result in results], "not_measured": findings.not_measured}


def _write(path: Path, report: dict[str, Any]) -> None:
  try:
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
  except OSError as error:
    raise InputError(f"cannot write {path} ({error.strerror}): choose another --out") from error


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog=NAME,
    description="Measures clips that generate.py wrote, alone or against the clips that they should have been.",
    epilog="A figure without its unit, vertices (the mask's digest), frame rate and number of clips cannot be compared "
    "with another; all are printed. 'value' pools the frames of all clips, 'macro' is the mean over clips.",
    allow_abbrev=False,
  )
  parser.add_argument("predicted", metavar="PREDICTED", type=Path, help="a folder of generate.py, or a clip's .json")
  parser.add_argument("--truth", type=Path, help="the same with the true clips, which are paired by id")
  parser.add_argument("--out", type=Path, help="JSON file to write")
  return parser


if __name__ == "__main__":
  sys.exit(main())
