"""The built-in speech-to-mouth network (jaxtalk/systems/speech_motion.py), 0.35 M parameters.

Data: about 85 minutes of the built-in voice at ages 3 to 60, made on the first run (5 to 10 minutes of one core) and
cached in WORKDIR/data. Training takes ten to twenty minutes on two CPU cores.

  python train.py --config=configs/speech_motion.py --workdir=out/speech_motion
"""

from ml_collections import ConfigDict


def get_config(arg=""):
  config = ConfigDict()
  config.train = ConfigDict()
  config.train.seed = 0  # of weights, order of the data and augmentation
  config.train.steps = 1600  # updates
  config.train.batch_size = 24  # examples an update
  config.train.accumulate = 1  # parts a batch goes through in, to save memory
  config.train.ema_decay = 0.995  # of the averaged weights that are evaluated and exported
  config.train.log_every = 50  # updates between lines
  config.train.eval_every = 250  # updates between evaluations
  config.train.save_every = 500  # updates between checkpoints
  config.train.keep = 2  # checkpoints that stay

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
  config.optimizer.weight_decay = 0.01  # of matrices
  config.optimizer.clip_norm = 1.0  # largest norm of the gradient, 0 is any

  config.model = ConfigDict()
  config.model.width = 96  # channels
  config.model.dilations = (1, 2, 4, 1, 2, 4)  # of the blocks, in frames of 20 ms

  config.data = ConfigDict()
  config.data.seed = 1  # of sentences and speakers
  config.data.utterances = 1600  # number to train on
  config.data.held_out_utterances = 48  # number to evaluate on
  config.data.ages = (3.0, 60.0)  # years
  config.data.held_out_ages = (5.0, 8.0, 11.0, 35.0)  # years; none within half a year is trained on
  config.data.crop_frames = 128  # length of an example in frames of 20 ms
  return config


def get_task(config):
  from jaxtalk.systems.speech_motion_task import SpeechMotionTask

  return SpeechMotionTask(config)
