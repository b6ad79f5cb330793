"""Hostile snapshots: nothing runs, nothing is allocated for a promise, and the message names what was refused."""

import pickle
import random
import re
import resource
import struct

import numpy as np
import pickles as p
import pytest

from jaxtalk.stylegan2.snapshots import SnapshotError, read_snapshot


def refuse(tmp_path, data, message):
  path = tmp_path / "hostile.pkl"
  path.write_bytes(data)
  with pytest.raises(SnapshotError, match=message) as caught:
    read_snapshot(path)
  assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


class Reduced:
  """Pickles as a call of ``function``, by the ordinary pickler."""

  def __init__(self, function, *arguments):
    self.call = (function, arguments)

  def __reduce__(self):
    return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", (eval, exec, getattr, __import__, open, print, bytearray))
def test_builtins_are_refused_by_name(tmp_path, protocol, function):
  data = pickle.dumps({"G": Reduced(function, "1")}, protocol)
  refuse(tmp_path, data, rf"refused (builtins|__builtin__|io|_io)\.{function.__name__}")


def test_os_system_is_refused_and_never_runs(tmp_path):
  witness = tmp_path / "ran"
  for data in (
    p.pickle({"G": p.call("os.system", f"touch {witness}")}),
    b"cos\nsystem\n(S'touch " + str(witness).encode() + b"'\ntR.",
    b"(S'touch " + str(witness).encode() + b"'\nios\nsystem\n.",
    b"\x80\x04" + p.text("os") + p.text("system") + b"\x93" + p.push((f"touch {witness}",)) + b"R.",
  ):
    refuse(tmp_path, data, r"refused os\.system")
  assert not witness.exists()


@pytest.mark.parametrize(
  "dotted",
  (
    "posix.system",
    "subprocess.Popen",
    "builtins.__import__",
    "torch.load",
    "torch.FloatStorage",
    "torch._utils._rebuild_tensor",
    "torch_utils.persistence.persistent_class",
    "numpy.core.multiarray._reconstruct",
    "numpy.load",
    "collections.defaultdict",
    "copyreg._reconstructor",
    "_codecs.decode",
    "collections.OrderedDict.fromkeys",
  ),
)
def test_every_other_name_is_refused(tmp_path, dotted):
  refuse(tmp_path, p.snapshot(G=p.name(dotted)), "refused " + dotted.replace(".", r"\."))
  module, _, attribute = dotted.partition(".")  # a dotted attribute, as protocol 4 allows
  refuse(tmp_path, b"\x80\x04" + p.text(module) + p.text(attribute) + b"\x93.", "refused " + dotted)


def test_nested_reductions_are_refused(tmp_path):
  evil = p.call("os.system", "true")
  for inside in (
    p.call("torch._utils._rebuild_parameter", evil, True, {}),
    p.call("torch_utils.persistence._reconstruct_persistent_obj", {"state": evil}),
    p.call("collections.OrderedDict", [("a", evil)]),
    p.network(weight=p.parameter(p.call("torch.storage._load_from_bytes", evil))),
    p.name("numpy.dtype") + p.push(("f8", False, True)) + b"R" + p.push((3, evil)) + b"b",
  ):
    refuse(tmp_path, p.snapshot(G=inside), r"refused os\.system")


VALUES = np.arange(6, dtype=np.float32)
MODULE, PARAMETER = "torch_utils.persistence._reconstruct_persistent_obj", "torch._utils._rebuild_parameter"
TENSOR, SCALAR = "torch._utils._rebuild_tensor_v2", "numpy.core.multiarray.scalar"
STORAGE = p.call("torch.storage._load_from_bytes", p.blob(p.storage_stream(VALUES)))
ODD_CALLS = {
  "module": (MODULE, ("a", "b")),
  "module without state": (MODULE, ({"type": "class", "version": 6},)),
  "parameter of text": (PARAMETER, ("os.system", True, {})),
  "tensor of text": (TENSOR, ("storage", 0, (1,), (1,), False, {})),
  "tensor of floats": (TENSOR, (STORAGE, 0, (1.5,), (1,), False, {})),
  "negative size": (TENSOR, (STORAGE, 0, (-1, -6), (1, 1), False, {})),
  "negative offset": (TENSOR, (STORAGE, -4, (1,), (1,), False, {})),
  "negative stride": (TENSOR, (STORAGE, 5, (6,), (-1,), False, {})),
  "more sizes than strides": (TENSOR, (STORAGE, 0, (2, 3), (1,), False, {})),
  "many dimensions": (TENSOR, (STORAGE, 0, (1,) * 9, (1,) * 9, False, {})),
  "dtype of objects": ("numpy.dtype", ("O8", False, True)),
  "dtype of a list": ("numpy.dtype", ([("a", "f8")], False, True)),
  "scalar of text": (SCALAR, ("f8", "12345678")),
  "short scalar": (SCALAR, (p.call("numpy.dtype", "f8", False, True), p.blob(b"1234"))),
  "dict of items": ("collections.OrderedDict", ([("a", 1)],)),
  "set of tuples": ("builtins.set", ([(1, 2)],)),
  "codec": ("_codecs.encode", ("abc", "rot13")),
  "codec of a wide letter": ("_codecs.encode", ("\u20ac", "latin1")),
}


@pytest.mark.parametrize("kind", ODD_CALLS)
def test_allowed_names_with_odd_arguments(tmp_path, kind):
  dotted, arguments = ODD_CALLS[kind]
  refuse(tmp_path, p.snapshot(G=p.call(dotted, *arguments)), re.escape(dotted) + " is called with arguments")
  refuse(tmp_path, p.snapshot(G=p.name(dotted) + p.push([]) + b"R"), re.escape(dotted) + " is called without a tuple")


@pytest.mark.parametrize("target", (p.name("collections.OrderedDict"), p.call("collections.OrderedDict"), p.network()))
@pytest.mark.parametrize("state", ({"__class__": "x"}, (None, {"__setstate__": "x", "append": 1}), "x"))
def test_attributes_cannot_be_set(tmp_path, target, state):
  refuse(tmp_path, p.snapshot(G=target + p.push(state) + b"b"), "attributes are set on a")


def test_only_data_is_called(tmp_path):
  for target in (p.push("os.system"), p.call("collections.OrderedDict"), p.network()):
    refuse(tmp_path, p.snapshot(G=target + b")R"), "a call of something that is not a function")
    refuse(tmp_path, p.snapshot(G=target + b")\x81"), "a call of something that is not a function")


@pytest.mark.parametrize("code", (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"))
def test_extension_codes(tmp_path, code):
  refuse(tmp_path, p.snapshot(G=code), "operation EXT[124]")


@pytest.mark.parametrize(
  ("code", "name"), ((b"\x97", "NEXT_BUFFER"), (b"\x98", "READONLY"), (b"\xff", "0xff"), (b"P1\n", "PERSID"))
)
def test_operations_that_no_snapshot_has(tmp_path, code, name):
  refuse(tmp_path, p.snapshot(G=code), f"operation {name}")


def test_persistent_ids_only_inside_tensors(tmp_path):
  refuse(tmp_path, p.snapshot(G=p.push(("storage", "x")) + b"Q"), "persistent id")


STREAMS = {
  "another class": (p.storage_stream(VALUES, "os.system"), r"refused os\.system"),
  "a torch class": (p.storage_stream(VALUES, "torch.nn.Linear"), r"refused torch\.nn\.Linear"),
  "an outer name": (p.storage_stream(VALUES, "collections.OrderedDict"), r"refused collections\.OrderedDict"),
  "a called storage": (p.pickle(p.call("torch.FloatStorage")), r"a call of torch\.FloatStorage"),
  "more than there is": (p.storage_stream(VALUES, numel=1 << 60), "1152921504606846976 elements of 4 bytes announced"),
  "less than there is": (p.storage_stream(VALUES, numel=2), "announced"),
  "negative": (p.storage_stream(VALUES, numel=-6), "announced"),
  "another type": (p.storage_stream(VALUES, "torch.DoubleStorage"), "announced"),
  "no stream": (b"hello", "truncated or damaged|operation|memo"),
  "empty": (b"", "truncated"),
  "a zip": (b"PK\x03\x04", "operation"),
  "no magic": (p.pickle(1) + p.pickle(1001) + p.pickle({"little_endian": True}), "not a stream of the old torch.save"),
  "big endian": (
    p.storage_stream(VALUES).replace(b"little_endian\x88", b"little_endian\x89"),
    "big-endian",
  ),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_streams_inside_tensors(tmp_path, kind):
  stream, message = STREAMS[kind]
  storage = p.call("torch.storage._load_from_bytes", p.blob(stream))
  refuse(tmp_path, p.snapshot(G=p.network(weight=storage)), message)


@pytest.mark.parametrize(
  ("size", "stride", "offset"),
  (((7,), (1,), 0), ((3,), (3,), 0), ((1,), (1,), 6), ((1 << 62, 1 << 62), (0, 0), 0), ((2, 2), (1 << 62, 1), 0)),
)
def test_tensors_stay_inside_their_storage(tmp_path, size, stride, offset):
  refuse(tmp_path, p.snapshot(G=p.network(weight=p.tensor(VALUES, size, stride, offset))), "outside its storage")


GIANT = (1 << 31) - 1
LENGTHS = {
  "BINUNICODE8": b"\x8d" + struct.pack("<Q", 1 << 62),
  "BINBYTES8": b"\x8e" + struct.pack("<Q", 1 << 62),
  "BYTEARRAY8": b"\x96" + struct.pack("<Q", 1 << 40),
  "BINUNICODE": b"X" + struct.pack("<I", 4 * GIANT // 2),
  "BINBYTES": b"B" + struct.pack("<I", GIANT),
  "BINSTRING": b"T" + struct.pack("<i", -1),
  "LONG4": b"\x8b" + struct.pack("<i", GIANT),
  "LONG4 negative": b"\x8b" + struct.pack("<i", -5),
  "LONG": b"L" + b"9" * 900 + b"L\n",
  "INT": b"I" + b"9" * 5000 + b"\n",
  "FRAME": b"\x95" + struct.pack("<Q", 1 << 62),
  "GLOBAL": b"c" + b"a" * 100_000,
}


@pytest.mark.parametrize("kind", LENGTHS)
def test_giant_lengths_cost_nothing(tmp_path, kind):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  refuse(tmp_path, p.snapshot(G=LENGTHS[kind]), "truncated|an integer|argument without end")
  assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_memo_bombs(tmp_path):
  refuse(tmp_path, p.snapshot(G=b"Nr" + struct.pack("<I", 0xFFFFFFFF) + b"0"), "operation POP")
  refuse(tmp_path, p.snapshot(G=b"j" + struct.pack("<I", 0xFFFFFFFF)), "memo 4294967295")
  doubling = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(200))
  refuse(tmp_path, p.snapshot(G=p.network(_init_kwargs={"a": b"(" + doubling + b"t"})), "nested deeper")
  wide = b"](" + b"N" * 100 + b"eq\x00" + b"".join(b"](" + b"h%c" % i * 100 + b"eq%c" % (i + 1) for i in range(6))
  refuse(tmp_path, p.snapshot(G=p.network(_init_kwargs={"a": b"(" + wide + b"t"})), "more operations")


def test_text_that_is_copied_again_and_again(tmp_path):
  first = p.text("x" * 100_000) + b"q\x01"
  again = (p.name("_codecs.encode") + b"h\x01" + p.text("latin1") + b"\x86R") * 50
  refuse(tmp_path, p.snapshot(G=b"(" + first + again + b"t"), "more data than the file holds")


def test_tensor_that_is_used_again_and_again(tmp_path):
  weight = p.parameter(p.tensor(np.zeros(5000, np.float32))) + b"q\x01"
  shared = {"first": weight} | {f"w{i}": b"h\x01" for i in range(50)}
  refuse(tmp_path, p.snapshot(G=p.network(_modules={}, _parameters=shared)), "more data than the file holds")


def test_recursion_bombs(tmp_path):
  for nested in (b"(" * 100_000, b"](" * 100_000 + b"N" + b"e" * 100_000):
    refuse(tmp_path, p.snapshot(G=nested), "nested deeper")
  refuse(tmp_path, p.snapshot(G=p.network(_init_kwargs={"a": b")" + b"\x85" * 100_000})), "nested deeper")
  refuse(tmp_path, p.snapshot(G=b")" + b"\x85" * 300_000), "no dict with the networks")
  key = b"}" + b")" + b"\x85" * 300_000 + b"Ns"  # hashing it would overflow the C stack
  refuse(tmp_path, p.snapshot(G=key), "dict key")
  refuse(tmp_path, b"\x80\x03" + b"N" * 1_000_001 + b".", "more operations")


def test_module_that_contains_itself(tmp_path):
  meta = {"type": "class", "version": 6, "module_src": "", "class_name": "Generator"}
  state = b"}q\x01(" + p.push("_modules") + b"}q\x02" + b"u"
  module = p.call("torch_utils.persistence._reconstruct_persistent_obj", {**meta, "state": state}) + b"q\x03"
  cycle = b"(" + module + b"h\x02" + p.push("again") + b"h\x03" + b"st"
  content = b"\x80\x03}(" + p.push("junk") + cycle + p.push("G") + b"h\x03" + b"u."
  refuse(tmp_path, content, "modules nested deeper")


def test_modules_nested_very_deep(tmp_path):
  """Built from the inside, so that no mark stays open; also freeing them must not overflow the C stack."""
  leaf = p.name("torch_utils.persistence._reconstruct_persistent_obj") + b"q\x00" + p.module("Generator") + b"q\x01"
  fields = b"".join(p.push(key) for key in ("type", "class", "version", 6, "module_src", "", "class_name", "G"))
  state = p.push("state") + b"}(" + p.push("_modules") + b"}(" + p.push("a") + b"h\x01uu"
  level = b"h\x00}(" + fields + state + b"u\x85Rq\x01"
  content = b"\x80\x03}(" + p.push("junk") + b"(" + leaf + level * 20_000 + b"t" + p.push("G") + b"h\x01u."
  refuse(tmp_path, content, "modules nested deeper")


def test_modules_shared_by_modules(tmp_path):
  leaf = p.module("Layer") + b"q\x00"
  levels = [leaf]
  for i in range(12):
    children = {f"c{k}": b"h" + bytes([i]) for k in range(10)}
    levels.append(p.module("Layer", _modules=children) + b"q" + bytes([i + 1]))
  content = b"\x80\x03}(" + p.push("junk") + b"(" + b"".join(levels) + b"t"
  content += p.push("G") + p.network(_modules={"all": b"h\x0c"}) + b"u."
  refuse(tmp_path, content, "more operations")


def test_another_version_of_the_format(tmp_path):
  refuse(tmp_path, p.snapshot(G=p.module("Generator", version=7)), "version 7")


@pytest.mark.parametrize(
  ("state", "message"),
  (
    ({"_init_kwargs": {"a": p.tensor(VALUES)}}, "a tensor among the arguments"),
    ({"_init_kwargs": [1]}, "does not record the arguments"),
    ({"_init_args": (1, 2, 3, 4, 5, 6)}, "does not record the arguments"),
    ({"_init_kwargs": {3: 4}}, "an argument without a name"),
    ({"_parameters": {"a.b": None}}, "without a proper name"),
    ({"_parameters": {"a": "text"}}, "'a' in _parameters is something else"),
    ({"_modules": {"a": {}}}, "'a' in _modules is something else"),
    ({"_modules": []}, "_modules of a 'Generator' is not a dict"),
    ({"_parameters": {"w": p.tensor(VALUES)}, "_buffers": {"w": p.tensor(VALUES)}}, "'w' is there twice"),
  ),
)
def test_malformed_networks(tmp_path, state, message):
  refuse(tmp_path, p.snapshot(G=p.network(**state)), message)


def test_truncated_anywhere(tmp_path):
  data = p.snapshot(G=p.network(_init_kwargs={"conv_clamp": p.numpy_scalar(256.0)}), D=p.network("Discriminator"))
  for end in range(0, len(data), 5):
    refuse(tmp_path, data[:end], "truncated|empty|no pickle")


def test_damaged_anywhere_never_gives_another_error(tmp_path):
  """Single flipped bytes either do no harm (a number, a name) or are refused with our error."""
  data = p.snapshot(G=p.network(_init_kwargs={"conv_clamp": p.numpy_scalar(256.0)}), D=p.network("Discriminator"))
  rng, path, refused = random.Random(0), tmp_path / "damaged.pkl", 0
  for _ in range(800):
    damaged = bytearray(data)
    damaged[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(damaged)
    try:
      read_snapshot(path)
    except SnapshotError as error:
      assert "\n" not in str(error)
      refused += 1
  assert 200 < refused < 800
