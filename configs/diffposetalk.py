"""DiffPoseTalk on your own data: first its style encoder (``:style``), then its denoiser (``:denoiser``).

Sizes and weights are the released ones. The data is a folder in its LMDB layout (jaxtalk/data/motion_lmdb.py); FLAME's
model and a speech encoder (HuBERT or wav2vec 2.0, as published) are yours too. Training takes days of one GPU.

  pip install lmdb
  python train.py --config=configs/diffposetalk.py:style --workdir=out/style --config.data.path=HDTF_TFHP-lmdb
  python train.py --config=configs/diffposetalk.py:denoiser --workdir=out/diffposetalk \
    --config.data.path=HDTF_TFHP-lmdb --config.data.flame=generic_model.pkl \
    --config.model.style_encoder=out/style/export/style_encoder.safetensors \
    --config.model.speech_encoder=hubert-base-ls960
"""

from ml_collections import ConfigDict

from jaxtalk.core import InputError


def get_config(arg="denoiser"):
  if arg not in ("style", "denoiser"):
    raise InputError(f"configs/diffposetalk.py:{arg}: the argument is style or denoiser")
  config = ConfigDict()
  config.kind = arg  # which training; chosen by the argument
  config.train = ConfigDict()
  config.train.seed = 0  # of weights, order of the data and noise
  config.train.steps = 26_000  # updates
  config.train.batch_size = 32  # examples an update
  config.train.accumulate = 1  # parts a batch goes through in, to save memory
  config.train.ema_decay = 0.999  # of the averaged weights that are evaluated and exported
  config.train.log_every = 50  # updates between lines
  config.train.eval_every = 2000  # updates between evaluations
  config.train.save_every = 2000  # updates between checkpoints
  config.train.keep = 2  # checkpoints that stay

  config.mesh = ConfigDict()
  config.mesh.data = -1  # devices over which the batch is split; -1 is all that are left
  config.mesh.fsdp = 1  # devices over which batch and weights are split
  config.mesh.model = 1  # devices over which the layers are split

  config.optimizer = ConfigDict()
  config.optimizer.name = "adam"  # adam, adamw or sgd
  config.optimizer.lr = 1e-4  # highest learning rate
  config.optimizer.schedule = "constant"  # after the warm-up: constant, cosine or linear
  config.optimizer.warmup_steps = 0  # updates
  config.optimizer.b1 = 0.9  # decay of the first moment
  config.optimizer.b2 = 0.999  # decay of the second moment
  config.optimizer.weight_decay = 0.0  # of matrices, adamw only
  config.optimizer.clip_norm = 0.0  # largest norm of the gradient, 0 is any

  config.data = ConfigDict()
  config.data.path = ""  # folder in the LMDB layout, with train.txt and the split below
  config.data.stats = ""  # statistics file; empty is the folder's stats_train.npz, or measured where it has none
  config.data.held_out = "val"  # split to evaluate on
  config.data.held_out_count = 64  # examples to evaluate on
  config.data.frames = 100  # length of a window, 25 a second

  config.model = ConfigDict()
  config.model.head = True  # whether the motion includes the head's rotation
  config.model.dropout = 0.1  # in training
  config.loss = ConfigDict()
  return _style(config) if arg == "style" else _denoiser(config)


def _style(config):
  config.model.width = 128  # of tokens and of the style vector
  config.model.heads = 4  # of every attention
  config.model.layers = 4  # of the transformer
  config.model.positions = "shared"  # shared as released (blind to the order of frames), or sinusoid
  config.loss.temperature = 0.1  # of the contrast
  return config


def _denoiser(config):
  config.train.steps = 110_000
  config.train.batch_size = 16
  config.train.eval_every = 5000
  config.train.save_every = 5000
  config.optimizer.warmup_steps = 5000
  config.data.held_out_count = 16
  config.data.flame = ""  # your FLAME model (.pkl, .npz or .safetensors), for the losses on vertices
  config.data.truncate = (0.3, 0.4)  # how often the first and second window of an example end early
  config.model.speech_encoder = ""  # folder with config.json and model.safetensors
  config.model.style_encoder = ""  # style_encoder.safetensors of a :style run
  released = ("feature_extractor", "feature_projection", "encoder.layers.0", "encoder.layers.1")
  config.model.frozen = released  # parts of the speech encoder that do not learn; ("all",) is all of it
  config.model.width = 512  # of tokens
  config.model.heads = 8  # of every attention
  config.model.layers = 8  # of the transformer
  config.model.previous = 10  # frames of the window before
  config.model.align_width = 1  # frames of speech that a frame of motion sees: w - 1 on either side
  config.diffusion = ConfigDict()
  config.diffusion.schedule = "cosine"  # cosine, linear, quadratic or sigmoid
  config.diffusion.steps = 500  # times of the schedule
  config.loss.motion = 1.0  # weights: of the coefficients
  config.loss.vertices = 2e6  # of vertices in metres, the head at rest
  config.loss.velocity = 1e7  # of their differences between frames
  config.loss.smoothness = 1e5  # of the estimate's second differences
  config.loss.head = 0.05  # of the head's rotation
  config.loss.head_velocity = 5.0  # of its differences
  config.loss.head_smoothness = 0.5  # of the estimate's second differences
  config.loss.head_transition = 0.5  # between the windows
  return config


def get_task(config):
  if config.kind == "style":
    from jaxtalk.systems.diffposetalk_style_task import StyleTask

    return StyleTask(config)
  from jaxtalk.systems.diffposetalk_task import DenoiserTask

  return DenoiserTask(config)
