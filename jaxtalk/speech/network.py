"""The built-in text-to-speech network, opened once per process, with its durations exposed.

``hibari-tts`` (Apache-2.0) carries text analysis and an ONNX network in its wheel. The network turns phoneme ids into
the parameters of a small vocoder, and inside the graph it predicts how long each phoneme lasts; that tensor is not
among its outputs. ``with_output`` makes it one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
from pathlib import Path

import numpy as np

from jaxtalk.core import MissingAssetError

SAMPLE_RATE = 24_000
HOP = 300  # samples a vocoder frame: 12.5 ms
FRAME = HOP / SAMPLE_RATE
DURATIONS = "/Clip_output_0"  # float32 (L,): units of two frames (25 ms) per id; their sum is half the frame count
# The sound runs ahead of the durations by two of their units: the median over 329 phone boundaries against a forced
# aligner is 53 ms, the same at the beginning and at the end of sentences (benchmarks/phone_alignment.py).
AHEAD = 4  # frames
MAX_IDS = 400  # one call of the network
PADDING_ID = 0


@dataclasses.dataclass(frozen=True)
class Vocoded:
  """Parameters of F vocoder frames; the five spectra are (601, F) float32 over 0-12 kHz in steps of 20 Hz.

  The sound is ``exp(harmonic) e^(i pi tanh(theta)) STFT(pulses(f0)) + exp(noise) Z + exp(residual) e^(i phi)``: voice,
  breath, and a part with phases of its own that carries fricatives, bursts and onsets.
  """

  harmonic: np.ndarray
  theta: np.ndarray
  noise: np.ndarray
  residual: np.ndarray
  phi: np.ndarray
  f0_hz: np.ndarray

  @property
  def num_frames(self) -> int:
    return len(self.f0_hz)


@dataclasses.dataclass(frozen=True)
class Token:
  """A word or mark of the text and its phonemes in hibari's alphabet; ``spaced`` says that white space follows."""

  text: str
  phonemes: str
  spaced: bool


class Network:
  """Text analysis and the acoustic network.

  Attributes:
    vocabulary: phoneme character -> id.
    model_path: the ONNX file inside the installed wheel.
  """

  def __init__(self):
    try:
      import onnxruntime
      from hibari.g2p import G2P
      from hibari.tts import ASSETS, Hibari
      from hibari.voices import DEFAULT, voice_path
    except ImportError as error:
      raise MissingAssetError(f"the built-in voice needs {error.name!r}: pip install hibari-tts") from error
    self._split = Hibari.split_sentences
    self._g2p = G2P()
    self.vocabulary: dict[str, int] = json.loads(Path(ASSETS, "vocab.json").read_text("utf-8"))
    self.model_path = Path(voice_path(DEFAULT, download_missing=False))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the same sums in the same order everywhere
    options.log_severity_level = 3
    model = with_output(self.model_path.read_bytes(), DURATIONS)
    self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    self._outputs = [output.name for output in self._session.get_outputs()]

  def sentences(self, text: str) -> list[list[Token]]:
    """Tokens with phonemes, one list a sentence, as the text-to-speech front end reads them."""
    from hibari.g2p.normalize import normalize

    read = []
    # "[word](/phonemes/)" would set phonemes past every check of the text; here it is a word and a parenthesis.
    for sentence in self._split(text.replace("](", "] (")):
      tokens = self._g2p.phonemize_tokens(self._g2p.tokenize(normalize(sentence)))
      read.append([Token(t.text, t.phonemes or "", bool(t.whitespace)) for t in tokens])
    return read

  def run(self, phonemes: str, speed: float) -> tuple[Vocoded, np.ndarray]:
    """Vocoder parameters, and where in them each id ends, in frames (leading pad, one a character, trailing pad).

    Args:
      phonemes: characters of ``vocabulary`` only.
      speed: 1 is the voice's own pace, 2 is twice as fast.
    """
    ids = [PADDING_ID, *(self.vocabulary[c] for c in phonemes), PADDING_ID]
    feeds = {"ids": np.asarray([ids], np.int64), "speed": np.asarray([speed], np.float32)}
    out = dict(zip(self._outputs, self._session.run(None, feeds), strict=True))
    parts = [out[name][0] for name in ("lh", "theta", "ln", "lr", "phi", "f0")]
    ends = 2 * np.cumsum(np.rint(out[DURATIONS].reshape(-1)).astype(np.int64)) - AHEAD
    return Vocoded(*parts), ends


@functools.cache
def network() -> Network:
  """The process's one network; the first call takes about half a second."""
  return Network()


def version() -> str:
  """Version of the installed voice, for provenance."""
  return importlib.metadata.version("hibari-tts")


def with_output(model: bytes, tensor: str) -> bytes:
  """A serialised ONNX model with one more graph output, the one-dimensional float32 tensor ``tensor`` of the graph.

  Protocol buffers define that when a field holding a message occurs twice, parsers merge the two, and that repeated
  fields are joined (protobuf.dev, "Encoding: Last One Wins"; ``MergeFrom``). So appending a second ``ModelProto.graph``
  that holds nothing but one ``output`` adds that output, whatever the rest of the file looks like, and no ONNX tooling
  is needed. The numbers are those of onnx.proto: ModelProto.graph = 7, GraphProto.output = 12, ValueInfoProto.name = 1
  and .type = 2, TypeProto.tensor_type = 1, TypeProto.Tensor.elem_type = 1 (FLOAT = 1) and .shape = 2,
  TensorShapeProto.dim = 1, Dimension.dim_param = 2 ("L", as in the input "ids").
  """
  shape = _message(2, _message(1, _message(2, b"L")))
  float_tensor = _message(1, _varint(1 << 3) + _varint(1) + shape)
  value_info = _message(1, tensor.encode()) + _message(2, float_tensor)
  return model + _message(7, _message(12, value_info))


def _message(field: int, payload: bytes) -> bytes:
  """A length-delimited field: tag, length, payload."""
  return _varint(field << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
  """Base-128, least significant group first."""
  out = bytearray()
  while value > 0x7F:
    out.append(value & 0x7F | 0x80)
    value >>= 7
  out.append(value)
  return bytes(out)
