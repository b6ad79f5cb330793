"""FLAME: a head from coefficients (Li et al. 2017, "Learning a model of facial shape and expression from 4D scans").

  flame = read_flame(Path("generic_model.pkl"))        # the user's own file; see `flame_file`
  vertices = flame.vertices(shape, expression, pose)   # (..., V, 3) in metres

Shape and expression move vertices linearly, rotated joints bend them (pose correctives) and carry them along (linear
blend skinning). Of FLAME's joints, global, neck, jaw and two eyes, global and jaw turn here, as DiffPoseTalk uses them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxtalk.core import InputError
from jaxtalk.motion.rotations import matrix_from_axis_angle
from jaxtalk.systems.diffposetalk_motion import EXPRESSION, POSE, SHAPE
from jaxtalk.systems.flame_file import read_arrays

JOINTS = 5
_JAW = 2  # place of the jaw among the joints
_FIRST_EXPRESSION = 300  # columns before it are shape


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Flame:
  """A model; a pytree of float32 arrays.

  Attributes:
    template: (V, 3) metres.
    directions: (150, V, 3) what one unit of each of 100 shape and 50 expression coefficients adds.
    correctives: (36, V, 3) what entries of the joints' rotations, less the identity's, add.
    regressor: (5, V) joints are these averages of vertices.
    weights: (V, 5) of the joints at each vertex, summing to 1.
    faces: (F, 3) int32.
    parents: of the joints; that of the first is -1.
  """

  template: jax.Array
  directions: jax.Array
  correctives: jax.Array
  regressor: jax.Array
  weights: jax.Array
  faces: jax.Array
  parents: tuple[int, ...] = dataclasses.field(metadata={"static": True})

  def vertices(self, shape: jax.Array, expression: jax.Array, pose: jax.Array) -> jax.Array:
    """A `VertexFunction`: (..., 100), (..., 50) and (..., 6) [global, jaw] axis-angle to (..., V, 3) metres."""
    lead = expression.shape[:-1]
    for name, x, width in (("shape", shape, SHAPE), ("expression", expression, EXPRESSION), ("pose", pose, POSE)):
      if x.shape != (*lead, width):
        raise InputError(f"{name} is {x.shape}, but with expression {expression.shape} it must be {(*lead, width)}")
    factors = jnp.concatenate([shape, expression], axis=-1).reshape(-1, SHAPE + EXPRESSION)
    still = self.template[None] + jnp.einsum("nk,kvc->nvc", factors, self.directions)
    turns = self._turns(pose.reshape(-1, 2, 3))
    bent = still + jnp.einsum("nk,kvc->nvc", (turns[:, 1:] - _eye(2)).reshape(len(turns), -1), self.correctives)
    turned, shifts = self._transforms(turns, jnp.einsum("jv,nvc->njc", self.regressor, still))
    blended = jnp.einsum("vj,njab->nvab", self.weights, turned)
    moved = jnp.einsum("nvab,nvb->nva", blended, bent) + jnp.einsum("vj,nja->nva", self.weights, shifts)
    return moved.reshape(*lead, *self.template.shape)

  def _turns(self, pose: jax.Array) -> jax.Array:
    """(N, 2, 3) of global and jaw to (N, 5, 3, 3) of all joints."""
    turns = matrix_from_axis_angle(pose)
    rest = jnp.broadcast_to(_eye(2), (len(pose), JOINTS, 3, 3))
    return rest.at[:, 0].set(turns[:, 0]).at[:, _JAW].set(turns[:, 1])

  def _transforms(self, turns: jax.Array, joints: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Rotations (N, 5, 3, 3) and shifts (N, 5, 3) that carry a vertex along, from joints (N, 5, 3) at rest."""
    turned, places = [turns[:, 0]], [joints[:, 0]]
    for i in range(1, JOINTS):
      parent = self.parents[i]
      bone = joints[:, i] - joints[:, parent]
      places.append(places[parent] + jnp.einsum("nab,nb->na", turned[parent], bone))
      turned.append(turned[parent] @ turns[:, i])
    rotations = jnp.stack(turned, axis=1)
    return rotations, jnp.stack(places, axis=1) - jnp.einsum("njab,njb->nja", rotations, joints)


def read_flame(path: Path) -> Flame:
  """A model from its file.

  Raises:
    MissingAssetError: there is no such file.
    InputError: see `flame_file.read_arrays`; arrays that do not fit each other are named.
  """
  return make_flame(read_arrays(path), str(path))


def make_flame(arrays: dict[str, np.ndarray], where: str = "the model") -> Flame:
  """A model from arrays by FLAME's own names; ``where`` is for messages."""
  count = len(arrays["v_template"])
  wanted = {
    "v_template": (count, 3),
    "posedirs": (count, 3, 9 * (JOINTS - 1)),
    "J_regressor": (JOINTS, count),
    "kintree_table": (2, JOINTS),
    "weights": (count, JOINTS),
  }
  problems = [f"{n} is {arrays[n].shape}, not {shape}" for n, shape in wanted.items() if arrays[n].shape != shape]
  shapes = arrays["shapedirs"].shape
  if len(shapes) != 3 or shapes[:2] != (count, 3) or shapes[2] < _FIRST_EXPRESSION + EXPRESSION:
    problems.append(f"shapedirs is {shapes}, not {(count, 3)} and at least {_FIRST_EXPRESSION + EXPRESSION} columns")
  problems += [f"{n} has numbers that are not finite" for n, x in arrays.items() if not np.isfinite(x).all()]
  parents = [] if problems else [-1, *(int(p) for p in arrays["kintree_table"][0, 1:])]
  if any(not 0 <= parent < i for i, parent in enumerate(parents) if i):
    problems.append(f"kintree_table gives the joints the parents {parents}, which are no tree")
  if arrays["f"].ndim != 2 or arrays["f"].shape[1] != 3 or not (arrays["f"] < count).all():
    problems.append("f is not a list of triangles of its vertices")
  if problems:
    raise InputError(f"{where} is not a FLAME model: {'; '.join(problems)}")
  directions = arrays["shapedirs"]
  used = np.r_[0:SHAPE, _FIRST_EXPRESSION : _FIRST_EXPRESSION + EXPRESSION]
  single = lambda x: jnp.asarray(np.ascontiguousarray(x, np.float32))  # noqa: E731
  return Flame(
    template=single(arrays["v_template"]),
    directions=single(np.moveaxis(directions[:, :, used], 2, 0)),
    correctives=single(np.moveaxis(arrays["posedirs"], 2, 0)),
    regressor=single(arrays["J_regressor"]),
    weights=single(arrays["weights"]),
    faces=jnp.asarray(arrays["f"].astype(np.int32)),
    parents=tuple(parents),
  )


def _eye(lead: int) -> jax.Array:
  """The identity with axes of one in front."""
  return jnp.eye(3).reshape(*[1] * lead, 3, 3)
