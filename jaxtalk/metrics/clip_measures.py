"""All that can be said of a set of clips, by themselves and next to the clips that they should have been."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxtalk.cli import one_line
from jaxtalk.clips.reader import StoredClip
from jaxtalk.core import InputError
from jaxtalk.metrics import beats, dynamics, parameters, sync, variety, vertices
from jaxtalk.metrics.pairs import Pair, pair
from jaxtalk.metrics.result import MetricResult, bootstrap, common_fps
from jaxtalk.metrics.studio_face import MESH, FacePair, masks, studio_face
from jaxtalk.motion import rotations
from jaxtalk.motion.spaces import ARKIT, FACE, FACE_CHANNELS, HEAD, HEAD_CHANNELS
from jaxtalk.studio import head

LIP_LANDMARKS = "lip landmarks 48-67 of the studio head, no head pose"
GAP = "inner-lip gap of the studio head, from ARKit weights"
MOUTH = tuple(name for name in FACE_CHANNELS if name.startswith(("jaw", "mouth")))
UPPER = tuple(name for name in FACE_CHANNELS if name.startswith(("brow", "cheek", "nose")))
BEAT_SIGMA, BEAT_ORDER_SECONDS = 0.1, 7 / 25  # seconds; minima of order 7 at 25 fps


@dataclasses.dataclass
class Findings:
  """Figures, and why others could not be had: name -> reason."""

  results: list[MetricResult] = dataclasses.field(default_factory=list)
  not_measured: dict[str, str] = dataclasses.field(default_factory=dict)

  def add(self, name: str, measure: Callable[[], MetricResult]) -> None:
    """Takes a figure, or notes under ``name`` why these clips do not allow it."""
    try:
      self.results.append(measure())
    except InputError as error:
      self.not_measured[name] = one_line(error)


def measure(clips: Sequence[StoredClip]) -> Findings:
  """What needs no truth. InputError if there are no clips, or clips of several rates."""
  rates = [clip.motion.fps for clip in clips]
  common_fps(rates)
  found = Findings()
  found.add("bilabial closure rate", lambda: sync.closure_rate(_spoken(clips)))
  found.add("viseme-onset lag", lambda: sync.onset_lag(_spoken(clips)))
  found.add("vowel lag", lambda: sync.vowel_lag(_spoken(clips)))
  found.add("audio-mouth correlation", lambda: _correlation(clips))
  found.add("jitter", lambda: dynamics.jitter([_lips(clip) for clip in clips], rates, "m", LIP_LANDMARKS))
  found.add("lip power above 8 Hz", lambda: _high_frequencies(clips))
  found.add("blink rate", lambda: dynamics.blinks([clip.motion["eyeBlinkLeft"] for clip in clips], rates))
  found.add("head speed", lambda: dynamics.head_motion([clip.motion.values[:, HEAD] for clip in clips], rates))
  found.add("beat alignment", lambda: _beat_alignment(clips))
  _add_variety(found, clips)
  _add_speed(found, clips)
  return found


def compare(predicted: Sequence[StoredClip], truth: Sequence[StoredClip]) -> Findings:
  """What needs a truth, clip by clip in the same order. Faces are those of the truths, so that points can be compared.

  Raises:
    InputError: no clips, or a clip whose truth has another rate or length; it is named.
  """
  found = Findings()
  both = list(zip(predicted, truth, strict=True))
  motions = [pair(x.motion.values, y.motion.values, x.motion.fps, y.motion.fps, x.id) for x, y in both]
  common_fps([p.fps for p in motions])
  faces = [
    FacePair(studio_face(y.person()), p.predicted[:, FACE], p.truth[:, FACE], p.fps)
    for (_, y), p in zip(both, motions, strict=True)
  ]
  _add_vertices(found, faces)
  for channels in (MOUTH, UPPER, ("jawOpen",)):
    found.add(f"L1 of {channels[0]}", partial(parameters.channel_error, motions, ARKIT, channels))
  heads = [Pair(_head(p.predicted), _head(p.truth), p.fps) for p in motions]
  found.add("head-pose error", lambda: parameters.rotation_error(heads, ", ".join(HEAD_CHANNELS)))
  found.add("jitter ratio", lambda: _jitter_ratio(faces))
  return found


def _add_vertices(found: Findings, faces: Sequence[FacePair]) -> None:
  regions, marks = masks(), head.load_asset().landmarks
  for lips, ending in ((regions["lips"], ""), (regions["lip landmarks"], ", landmarks")):
    squared, length = f"LVE{ending}", f"LVE_mm{ending}"
    found.add(squared, partial(vertices.lip_vertex_error, faces, lips, MESH, name=squared))
    found.add(length, partial(vertices.lip_vertex_distance, faces, lips, MESH, name=length))
  upper = regions["upper face"]
  found.add("MVE", lambda: vertices.mean_vertex_error(faces, regions["face"], MESH))
  found.add("UFVE", lambda: vertices.mean_vertex_error(faces, upper, MESH, name="UFVE"))
  for form in vertices.FDD_FORMS:
    found.add(f"FDD, {form} form", partial(vertices.face_dynamics_deviation, faces, upper, MESH, form=form))
  above, below = (int(marks[i]) for i in vertices.INNER_LIPS)
  found.add("MOD", lambda: vertices.mouth_opening_difference(faces, MESH, lips=(above, below)))
  found.add("mouth-opening correlation", lambda: vertices.mouth_opening_correlation(faces, MESH, lips=(above, below)))


def match(predicted: Sequence[StoredClip], truth: Sequence[StoredClip]) -> list[StoredClip]:
  """The truth of each predicted clip, by id; a single clip of each goes together whatever their ids.

  Raises:
    InputError: clips without a truth; all of them are named.
  """
  if len(predicted) == len(truth) == 1:
    return list(truth)
  known = {clip.id: clip for clip in truth}
  missing = [clip.id for clip in predicted if clip.id not in known]
  if missing:
    raise InputError(f"the truth lacks {len(missing)} of {len(predicted)} clips: {', '.join(missing)}")
  return [known[clip.id] for clip in predicted]


def _track(clip: StoredClip) -> sync.MouthTrack:
  """The lip gap in metres."""
  landmarks = studio_face(clip.person()).landmarks(clip.motion.values[:, FACE])
  return sync.MouthTrack(sync.lip_gap(landmarks), clip.motion.fps, clip.phones, GAP)


def _spoken(clips: Sequence[StoredClip]) -> list[sync.MouthTrack]:
  """Tracks of the clips with known phones; InputError names one that cannot be measured against them."""
  tracks = {clip.id: _track(clip) for clip in clips if clip.phones}
  if not tracks:
    raise InputError("no clip says which phones are spoken when")
  for name, track in tracks.items():
    try:
      sync.closures(track)
    except InputError as error:
      raise InputError(f"{name}: {error}") from error
  return list(tracks.values())


def _correlation(clips: Sequence[StoredClip]) -> MetricResult:
  sounds = [clip.sound() for clip in clips]
  tracks = [_track(clip) for clip in clips]
  return sync.audio_mouth_correlation(tracks, [wave for wave, _ in sounds], [rate for _, rate in sounds])


def _lips(clip: StoredClip) -> np.ndarray:
  """(T, 20, 3) metres."""
  return studio_face(clip.person()).landmarks(clip.motion.values[:, FACE])[:, 48:68]


def _head(values: np.ndarray) -> np.ndarray:
  """(T, 3, 3)."""
  return rotations.matrix_from_ypr(values[:, HEAD])


def _jitter_ratio(faces: Sequence[FacePair]) -> MetricResult:
  lips = [p.points(masks()["lip landmarks"]) for p in faces]
  return dynamics.jitter_ratio([x for x, _ in lips], [y for _, y in lips], [p.fps for p in faces], LIP_LANDMARKS)


def _high_frequencies(clips: Sequence[StoredClip]) -> MetricResult:
  rate = common_fps([clip.motion.fps for clip in clips])
  if rate <= 18:
    raise InputError(f"{rate} fps hold little above 8 Hz")
  shares = [np.array([dynamics.high_frequency_share(_track(clip).gap, rate)]) for clip in clips]
  value = float(np.mean(shares))
  return MetricResult(
    name="lip power above 8 Hz",
    value=value,
    unit="1",
    representation=GAP,
    fps=rate,
    n_clips=len(clips),
    n_frames=_frames(clips),
    ci95=bootstrap(shares, lambda values: float(values.mean())),
    macro=value,
  )


def _beat_alignment(clips: Sequence[StoredClip]) -> MetricResult:
  """Of the head: the order of the minima spans the same time at every rate."""
  rate = common_fps([clip.motion.fps for clip in clips])
  order = max(1, round(BEAT_ORDER_SECONDS * float(rate)))
  moved = [beats.kinematic_beats(clip.motion.values[:, HEAD], rate, order) for clip in clips]
  heard = [beats.audio_beats(waveform, sample_rate) for waveform, sample_rate in (clip.sound() for clip in clips)]
  frames = [clip.motion.num_frames for clip in clips]
  return beats.beat_alignment(moved, heard, [rate] * len(clips), frames, sigma=BEAT_SIGMA, order=order)


def _add_variety(found: Findings, clips: Sequence[StoredClip]) -> None:
  by_sound: dict[str, list[StoredClip]] = {}
  for clip in clips:
    by_sound.setdefault(clip.sound_id, []).append(clip)
  found.add("diversity", lambda: _diversity([group[0] for group in by_sound.values()]))
  takes = [group for group in by_sound.values() if len(group) > 1]
  if not takes:
    found.not_measured["multimodality"] = "no two clips have the same sound"
    return
  for part, channels, unit in (("head", HEAD_CHANNELS, "rad"), ("upper face", UPPER, "1"), ("mouth", MOUTH, "1")):
    found.add(f"multimodality, {part}", partial(_multimodality, takes, part, channels, unit))


def _diversity(clips: Sequence[StoredClip]) -> MetricResult:
  features = np.stack([variety.motion_statistics(clip.motion.values[:, FACE]) for clip in clips])
  what = "mean and deviation over time of 52 ARKit weights, one clip a sound"
  return variety.diversity(features, what, clips[0].motion.fps, _frames(clips))


def _multimodality(
  groups: Sequence[Sequence[StoredClip]], part: str, channels: Sequence[str], unit: str
) -> MetricResult:
  columns = [ARKIT.index(channel) for channel in channels]
  return variety.multimodality(
    [variety.take_features([clip.motion.values[:, columns] for clip in group]) for group in groups],
    f"root mean square over frames of {len(columns)} channels of the {part}",
    groups[0][0].motion.fps,
    sum(_frames(group) for group in groups),
    name=f"multimodality, {part}",
    unit=unit,
  )


def _add_speed(found: Findings, clips: Sequence[StoredClip]) -> None:
  """From the log of the run that made the clips."""
  rows = _logged(clips)
  missing = [clip.id for clip in clips if clip.id not in rows]
  if missing:
    found.not_measured["RTF"] = f"run_log.jsonl does not say how long {missing[0]} took"
    return
  for name, stages in (("motion", ("motion",)), ("whole clip", ("voice", "motion", "picture", "write"))):
    seconds = [sum(rows[clip.id].get(stage, 0.0) for stage in stages) for clip in clips]
    durations = [clip.motion.num_frames / float(clip.motion.fps) for clip in clips]
    found.results.append(_logged_factor(name, stages, seconds, durations, clips))


def _logged_factor(
  name: str,
  stages: Sequence[str],
  seconds: Sequence[float],
  durations: Sequence[float],
  clips: Sequence[StoredClip],
) -> MetricResult:
  def factor(values: np.ndarray) -> float:
    return float(values[:, 0].sum() / values[:, 1].sum())

  rows = [np.array([[s, d]]) for s, d in zip(seconds, durations, strict=True)]
  return MetricResult(
    name=f"RTF, {name}",
    value=factor(np.concatenate(rows)),
    unit="1",
    representation=f"{' + '.join(stages)} by run_log.jsonl, compilation included",
    fps=clips[0].motion.fps,
    n_clips=len(clips),
    n_frames=_frames(clips),
    ci95=bootstrap(rows, factor),
    macro=float(np.mean([factor(row) for row in rows])),
  )


def _logged(clips: Sequence[StoredClip]) -> dict[str, Mapping[str, float]]:
  """Seconds by stage of every clip that a log beside the clips says was made; the last word counts."""
  found: dict[str, Mapping[str, float]] = {}
  for folder in sorted({clip.path.parent.parent for clip in clips}):
    for row in _json_lines(folder / "run_log.jsonl"):
      if row.get("result") == "made" and isinstance(row.get("seconds"), dict):
        found[row["clip"]] = row["seconds"]
  return found


def _json_lines(path: Path) -> list[dict[str, Any]]:
  """Rows of a log; none where it is missing, and without a last line that a killed run left half written."""
  rows = []
  for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
    try:
      rows.append(json.loads(line))
    except ValueError:
      continue
  return [row for row in rows if isinstance(row, dict)]


def _frames(clips: Sequence[StoredClip]) -> int:
  return sum(clip.motion.num_frames for clip in clips)
