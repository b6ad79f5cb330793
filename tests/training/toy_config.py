"""A tiny regression task that train.py and the tests of the loop run: fit a fixed random network."""

import json

from ml_collections import ConfigDict


def get_config(arg=""):
  config = ConfigDict()
  config.train = ConfigDict()
  config.train.seed = 0
  config.train.steps = 20
  config.train.batch_size = 32
  config.train.accumulate = 1
  config.train.ema_decay = 0.9
  config.train.log_every = 5
  config.train.eval_every = 20
  config.train.save_every = 10
  config.train.keep = 2
  config.mesh = ConfigDict({"data": 1, "fsdp": 1, "model": 1})
  config.optimizer = ConfigDict()
  config.optimizer.name = "adamw"
  config.optimizer.lr = 3e-3
  config.optimizer.schedule = "cosine"
  config.optimizer.warmup_steps = 2
  config.optimizer.b1 = 0.9
  config.optimizer.b2 = 0.99
  config.optimizer.weight_decay = 0.01
  config.optimizer.clip_norm = 1.0
  config.width = 64
  config.noise = 0.0  # of dropout, which makes the run depend on its random numbers (and compile for twice as long)
  config.nan_at = -1  # the batch whose targets are not numbers
  config.pause = 0.0  # seconds that a batch takes
  config.lock()
  return config


def get_task(config):
  return ToyTask(config)


class ToyTask:
  sharding_rules = ((r"down/kernel$", (None, "model")), (r"down/bias$", ("model",)))

  def __init__(self, config):
    import jax.numpy as jnp
    from flax import linen as nn

    from jaxtalk.training.optimizer import make_optimizer

    def waves(rng, shape, dtype):  # compiles faster than random numbers
      return (jnp.sin(jnp.arange(shape[0] * shape[1], dtype=dtype) ** 2) / shape[0] ** 0.5).reshape(shape)

    class Net(nn.Module):
      @nn.compact
      def __call__(self, x, train):
        x = nn.gelu(nn.Dense(config.width, kernel_init=waves, name="down")(x))
        x = nn.Dropout(config.noise, deterministic=not train)(x)
        return nn.Dense(8, kernel_init=waves, name="up")(x)

    self.config, self.net = config, Net()
    self.optimizer = make_optimizer(config.optimizer, config.train.steps)
    self.traces = 0

  def init(self, rng):
    import jax.numpy as jnp

    from jaxtalk.training.task import create_state

    return create_state(self.net.init(rng, jnp.zeros((1, 16)), False)["params"], self.optimizer, rng)

  def update(self, state, batch):
    from jaxtalk.training.task import gradient_update

    self.traces += 1
    train = self.config.train
    return gradient_update(
      state, batch, self._loss, self.optimizer, ema_decay=train.ema_decay, accumulate=train.accumulate
    )

  def _loss(self, params, batch, rng, train=True):
    out = self.net.apply({"params": params}, batch["x"], train, rngs={"dropout": rng} if train else {})
    error = ((out - batch["y"]) ** 2).mean()
    return error, {"error": error}

  def batch_spec(self):
    import jax
    import jax.numpy as jnp

    size = self.config.train.batch_size
    return {
      "x": jax.ShapeDtypeStruct((size, 16), jnp.float32),
      "y": jax.ShapeDtypeStruct((size, 8), jnp.float32),
    }

  def train_batches(self, folder):
    from jaxtalk.data.batches import ShuffledBatches

    return ShuffledBatches(ToySource(self.config), self.config.train.batch_size, self.config.train.seed)

  def evaluate(self, state):
    import jax

    source = ToySource(self.config)
    error = jax.jit(lambda params: self._loss(params, {"x": source.x, "y": source.y}, None, False)[0])
    return {"error": error(state.ema)}

  def export(self, state, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "facts.json").write_text(json.dumps({"step": int(state.step)}))
    return [folder / "facts.json"]


class ToySource:
  def __init__(self, config):
    import numpy as np

    rng = np.random.default_rng(1)
    self.config, self.calls = config, 0
    self.x = rng.normal(size=(100, 16)).astype(np.float32)
    self.y = np.tanh(self.x @ rng.normal(size=(16, 8))).astype(np.float32)

  def __len__(self):
    return len(self.x)

  def get(self, index, rng):
    import time

    size = self.config.train.batch_size
    time.sleep(self.config.pause / size)
    bad = self.calls // size == self.config.nan_at
    self.calls += 1
    return {"x": self.x[index], "y": self.y[index] * (float("nan") if bad else 1.0)}
