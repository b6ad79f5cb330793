"""The talking portrait (jaxtalk/systems/talking_portrait.py): a StyleGAN2 that obeys the motion space.

Data: pictures of synthetic people with exact conditions, made by the studio on the first run (about a second of a core
a person) and kept in WORKDIR/data. On two cores it is trained in steps, each from the one before, as its card tells;
on a GPU in one go.

  python train.py --config=configs/talking_portrait.py --workdir=out/portrait
  python train.py --config=configs/talking_portrait.py:256 --workdir=out/portrait256
"""

from ml_collections import ConfigDict

# Resolution: people, updates, batch, channel_base, channel_max, w_dim, mapping layers.
SIZES = {
  "128": (1300, 12000, 16, 2048, 128, 192, 3),
  "256": (20000, 200000, 64, 16384, 512, 512, 8),
}


def get_config(arg="128"):
  if arg not in SIZES:
    raise ValueError(f"talking portrait: {arg!r}; there are {', '.join(SIZES)}")
  people, steps, batch, base, most, w_dim, layers = SIZES[arg]
  config = ConfigDict()
  config.train = ConfigDict()
  config.train.seed = 0  # of weights and order of the data
  config.train.steps = steps  # updates
  config.train.batch_size = batch  # pictures an update
  config.train.ema_decay = 0.997  # of the average generator, which is evaluated and exported
  config.train.log_every = 50  # updates between lines
  config.train.eval_every = 1000  # updates between evaluations
  config.train.save_every = 1000  # updates between checkpoints
  config.train.keep = 1  # checkpoints that stay

  config.mesh = ConfigDict()
  config.mesh.data = -1  # devices over which the batch is split; -1 is all that are left
  config.mesh.fsdp = 1  # devices over which batch and weights are split
  config.mesh.model = 1  # devices over which the layers are split

  config.optimizer = ConfigDict()
  config.optimizer.lr = 0.003  # learning rate of the generator
  config.optimizer.mapping_boost = 30.0  # times that for the mapping network, whose layers are slow
  config.optimizer.d_lr = 0.002  # learning rate of the discriminator
  config.optimizer.other_share = 0.5  # of the generator's rate, where it learns the other domain
  config.optimizer.reader_lr = 0.002  # learning rate of the reader that keeps control in the other domain
  config.optimizer.warmup_steps = 100  # updates
  config.optimizer.decay_steps = steps // 4  # last updates, over which the generator's rate falls to nothing

  config.loss = ConfigDict()
  config.loss.paired_weight = 10.0  # weight of drawing the studio's picture of the same condition
  config.loss.focus_weight = 12.0  # by which pixels at eyes and mouth count more
  config.loss.adversarial_weight = 0.1  # weight of the discriminator's opinion, 0 leaves it out
  config.loss.adversarial_start = steps * 2 // 3  # update in which the discriminator comes in
  config.loss.r1_gamma = 1.0  # weight of the gradient penalty on real pictures
  config.loss.r1_every = 16  # updates between gradient penalties
  config.loss.other_weight = 1.0  # weight of the opinion of the other domain's discriminator
  config.loss.control_weight = 5.0  # weight of reading in the other domain's drawings what was asked for
  config.loss.other_start = steps // 8  # update in which the other domain comes in; the reader learns before

  config.model = ConfigDict()
  config.model.resolution = int(arg)  # of the pictures: a power of two
  config.model.w_dim = w_dim  # size of codes
  config.model.mapping_layers = layers  # from latent and condition to code
  config.model.channel_base = base  # channels at resolution r: channel_base / r,
  config.model.channel_max = most  # but no more than this
  config.model.d_channel_base = base  # the same of the discriminator
  config.model.mbstd_group = 4  # pictures whose statistics the discriminator compares
  config.model.conv_clamp = 0.0  # limit of activations, 0 is none; 256 goes with bfloat16
  config.model.dtype = "float32"  # of the largest resolutions: float32 or bfloat16
  config.model.num_half_res = 4  # how many resolutions that are

  config.kernels = ConfigDict()
  config.kernels.modulated_conv = "auto"  # auto (what is shown to be faster), xla, grouped or pallas

  config.data = ConfigDict()
  config.data.path = ""  # folder of the pictures, for several runs; empty: WORKDIR/data
  config.data.other_path = ""  # folder or zip of unlabelled RGB pictures, see docs/portrait_domains.md; empty: none
  config.data.people = people  # people to learn from, 14 pictures each
  config.data.held_out_people = 50  # people to evaluate on
  config.data.size = max(int(arg), 128)  # pixels of the pictures; the network's resolution divides it
  config.data.seed = 0  # of the people; those to evaluate on have the next
  config.init = ""  # start from this .safetensors or workdir; empty: random weights
  return config


def get_task(config):
  from jaxtalk.systems.talking_portrait_task import TalkingPortraitTask

  return TalkingPortraitTask(config)
