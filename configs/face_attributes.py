"""The built-in face-attribute network (jaxtalk/systems/face_attributes.py), 0.55 M parameters.

Data: 4096 aligned pictures of synthetic children with exact labels, made by the studio on the first run (about 20
minutes of one core) and kept in WORKDIR/data, or a set that python -m jaxtalk.data.faces made before. Training takes
about twenty minutes of one idle core.

  python train.py --config=configs/face_attributes.py --workdir=out/face_attributes
"""

from ml_collections import ConfigDict


def get_config(arg=""):
  config = ConfigDict()
  config.train = ConfigDict()
  config.train.seed = 0  # of weights, order of the data and augmentation
  config.train.steps = 6000  # updates
  config.train.batch_size = 32  # examples an update
  config.train.accumulate = 1  # parts a batch goes through in, to save memory
  config.train.ema_decay = 0.995  # of the averaged weights that are evaluated and exported
  config.train.log_every = 50  # updates between lines
  config.train.eval_every = 3000  # updates between evaluations
  config.train.save_every = 500  # updates between checkpoints
  config.train.keep = 1  # checkpoints that stay

  config.mesh = ConfigDict()
  config.mesh.data = -1  # devices over which the batch is split; -1 is all that are left
  config.mesh.fsdp = 1  # devices over which batch and weights are split
  config.mesh.model = 1  # devices over which the layers are split

  config.optimizer = ConfigDict()
  config.optimizer.name = "adamw"  # adam, adamw or sgd
  config.optimizer.lr = 2e-3  # highest learning rate
  config.optimizer.schedule = "cosine"  # after the warm-up: constant, cosine or linear
  config.optimizer.warmup_steps = 100  # updates
  config.optimizer.b1 = 0.9  # decay of the first moment
  config.optimizer.b2 = 0.99  # decay of the second moment
  config.optimizer.weight_decay = 0.05  # of matrices
  config.optimizer.clip_norm = 1.0  # largest norm of the gradient, 0 is any

  config.model = ConfigDict()
  config.model.widths = (48, 96, 128)  # channels at 16, 8 and 4 pixels
  config.model.mixes = (1, 2, 1)  # neighbourhood layers at each

  config.data = ConfigDict()
  config.data.path = ""  # a face set; empty makes one
  config.data.held_out_path = ""  # another one to evaluate on; empty makes one
  config.data.seed = 0  # of the sets that are made; the one to evaluate on has the next
  config.data.count = 4096  # pictures to train on
  config.data.held_out_count = 1024  # pictures to evaluate on
  return config


def get_task(config):
  from jaxtalk.systems.face_attributes_task import FaceAttributesTask

  return FaceAttributesTask(config)
