"""The motion flow (jaxtalk/systems/motion_flow.py): any voice to face, gaze and head; the default animator.

Data: about two and a half hours of the built-in voice at ages 3 to 60 and, where installed (pip install
'jaxtalk[espeak]'), of eSpeak NG's voices in thirty languages, acted by the procedural animator in many manners. It is
made on the first run (half an hour of two cores) and cached in WORKDIR/data.

  python train.py --config=configs/motion_flow.py --workdir=out/motion_flow
  python generate.py --config.animator=flow --config.weights.flow=out/motion_flow/export/motion_flow.safetensors
"""

from ml_collections import ConfigDict


def get_config(arg=""):
  config = ConfigDict()
  config.train = ConfigDict()
  config.train.seed = 0  # of weights, order of the data, noise and augmentation
  config.train.steps = 3000  # updates
  config.train.batch_size = 32  # windows an update, a multiple of 4
  config.train.accumulate = 1  # parts a batch goes through in, to save memory
  config.train.log_every = 25  # updates between lines
  config.train.eval_every = 500  # updates between evaluations, 0 is only at the end
  config.train.save_every = 250  # updates between checkpoints
  config.train.keep = 2  # checkpoints that stay
  config.train.ema_decay = 0.998  # of the average weights, which are what is exported

  config.mesh = ConfigDict()
  config.mesh.data = -1  # devices over which the batch is split; -1 is all that are left
  config.mesh.fsdp = 1  # devices over which batch and weights are split
  config.mesh.model = 1  # devices over which the layers are split

  config.optimizer = ConfigDict()
  config.optimizer.name = "adamw"  # adam, adamw, sgd
  config.optimizer.lr = 1e-3  # learning rate
  config.optimizer.schedule = "cosine"  # constant, cosine or linear, after the warm-up
  config.optimizer.warmup_steps = 100  # updates
  config.optimizer.b1 = 0.9  # decay of the first moment
  config.optimizer.b2 = 0.98  # decay of the second moment
  config.optimizer.weight_decay = 0.01  # of matrices
  config.optimizer.clip_norm = 1.0  # of the gradient, 0 is off

  config.model = ConfigDict()
  config.model.width = 128  # of the transformer
  config.model.layers = 5  # of the transformer
  config.model.heads = 4  # of its attention
  config.model.audio_width = 96  # of the audio encoder
  config.model.audio_dilations = (1, 2, 4, 1, 2, 4)  # of its blocks, in frames of 20 ms
  config.model.style_width = 32  # of the style reader

  config.init_audio = "speech_motion"  # where the audio encoder starts: these weights of ours, a file of them, or ""

  config.data = ConfigDict()
  config.data.folder = ""  # cache of speech and performances; empty is WORKDIR/data
  config.data.builtin = 1600  # utterances of the built-in voice
  config.data.espeak = 1200  # utterances of eSpeak NG, none where it is not installed
  config.data.performances = 2400  # of three utterances each
  config.data.held_out = 40  # utterances to measure on, half of them eSpeak NG's
  config.data.seed = 0  # of texts, voices and manners
  return config


def get_task(config):
  from jaxtalk.systems.motion_flow_task import MotionFlowTask

  return MotionFlowTask(config)
