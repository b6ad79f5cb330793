"""StyleGAN2 with adaptive augmentation: children's faces, or any pictures.

The argument is a preset and official options: auto, stylegan2, paper256, paper512, paper1024, cifar, or demo, our own
small network for two CPU cores, e.g. ``configs/stylegan2.py:paper256,gpus=8,mirror=true``. With an empty data.path the
training pictures are synthetic children rendered by our studio on the first run.

  python train.py --config=configs/stylegan2.py:demo --workdir=out/stylegan2_demo
  python train.py --config=configs/stylegan2.py:auto,resolution=256,gpus=1 --config.data.path=pictures.zip
"""

from ml_collections import ConfigDict

from jaxtalk.stylegan2 import presets


def get_config(arg="demo"):
  preset = presets.parse(arg)
  config = ConfigDict()
  config.train = ConfigDict()
  config.train.seed = preset.seed  # of weights, latents, augmentation and order of the data
  config.train.kimg = preset.kimg  # length of the run in thousand pictures
  config.train.batch_size = preset.batch_size  # pictures an update
  config.train.accumulate = preset.accumulate  # parts a batch goes through in, to save memory
  config.train.steps = _updates(config, config.train.get_ref("kimg"))  # updates, from kimg and batch_size
  config.train.log_every = _updates(config, preset.tick)  # updates between lines
  config.train.eval_every = _updates(config, preset.snap * preset.tick)  # updates between evaluations
  config.train.save_every = _updates(config, preset.snap * preset.tick)  # updates between checkpoints
  config.train.keep = 2  # checkpoints that stay
  config.train.ema_kimg = preset.ema_kimg  # half-life of the average generator in thousand pictures
  config.train.ema_ramp = preset.ema_ramp  # half-life at most this share of the pictures so far; 0 is no limit
  config.train.freeze_d = preset.freeze_d  # layers of the discriminator, from the picture on, that do not learn

  config.mesh = ConfigDict()
  config.mesh.data = -1  # devices over which the batch is split; -1 is all that are left
  config.mesh.fsdp = 1  # devices over which batch and weights are split
  config.mesh.model = 1  # devices over which the layers are split

  config.optimizer = ConfigDict()
  config.optimizer.lr = preset.lr  # learning rate of both networks
  config.optimizer.paired_lr = 0.006  # learning rate where single pictures are drawn from their labels
  config.optimizer.paired_mapping_boost = 30.0  # times that for the mapping network, whose layers are slow
  config.optimizer.b2 = 0.99  # decay of the second moment
  config.optimizer.eps = 1e-8  # added to the root of the second moment

  config.loss = ConfigDict()
  config.loss.r1_gamma = preset.gamma  # weight of the gradient penalty on real pictures
  config.loss.r1_every = 16  # updates between gradient penalties
  config.loss.pl_weight = preset.pl_weight  # weight of the path-length penalty, 0 is none
  config.loss.pl_every = 4  # updates between path-length penalties
  config.loss.paired_weight = preset.paired_weight  # weight of drawing studio pictures from their labels, 0 is none
  config.loss.paired_only_kimg = preset.paired_only_kimg  # thousand pictures before the discriminator comes in as well
  config.loss.mixing_prob = preset.mixing  # how often styles are mixed

  config.augment = ConfigDict()
  config.augment.mode = preset.augment  # ada (adaptive), fixed or noaug
  config.augment.pipe = preset.augment_pipe  # blit, geom, color, filter, noise, cutout, bg, bgc, bgcf, bgcfn, bgcfnc
  config.augment.p = preset.augment_p  # strength, to begin with or fixed
  config.augment.target = preset.ada_target  # mean sign of D(real) that ada aims at
  config.augment.kimg = preset.ada_kimg  # thousand pictures in which ada may go from 0 to 1

  config.model = ConfigDict()
  config.model.networks = "conditional" if preset.conditional else "plain"  # plain, conditional or pair
  config.model.z_dim = preset.latent  # size of latents
  config.model.w_dim = preset.latent  # size of codes
  config.model.mapping_layers = preset.mapping_layers  # from latents to codes
  config.model.channel_base = preset.channel_base  # channels at resolution r: channel_base / r,
  config.model.channel_max = preset.channel_max  # but no more than this
  config.model.mbstd_group = preset.mbstd_group  # pictures whose statistics the discriminator compares
  config.model.d_architecture = preset.d_architecture  # of the discriminator: resnet, skip or orig
  config.model.use_noise = preset.use_noise  # whether the generator adds noise to its features
  config.model.dtype = preset.dtype  # of the largest resolutions: float32 or bfloat16
  config.model.num_half_res = preset.half_res  # how many resolutions that are
  config.model.conv_clamp = preset.conv_clamp  # limit of activations, 0 is none
  config.model.remat = False  # recompute in the backward pass to save memory

  config.kernels = ConfigDict()
  config.kernels.modulated_conv = "auto"  # auto (what is shown to be faster), xla, grouped or pallas

  config.data = ConfigDict()
  config.data.path = ""  # zip, folder or tfds:NAME; empty: studio children, rendered on the first run
  config.data.resolution = preset.resolution  # pictures are cut and shrunk to it
  config.data.mirror = preset.mirror  # twice the data, by flips
  config.data.max_size = preset.subset  # use so many pictures only, 0 is all
  config.data.only_label = -1  # class that one of a pair learns, 0 girls, 1 boys; -1 is all pictures
  config.data.studio_count = 4096  # studio children to render
  config.data.studio_seed = 0  # of the studio children

  config.eval = ConfigDict()
  config.eval.extractor = ""  # face_attributes, or converted Inception weights (.safetensors); empty: no distance
  config.eval.samples = 1000  # generated pictures to compare with real ones
  config.eval.grid = 8  # rows and columns of the sample sheet
  config.export_dtype = "float16"  # of the generator to ship: float32 or float16
  config.init = preset.init  # start from this .pkl, .safetensors or workdir; empty: random weights
  return config


def _updates(config, kimg):
  """Updates in so many thousand pictures; follows batch_size."""
  return kimg * 1000 // config.train.get_ref("batch_size")


def get_task(config):
  from jaxtalk.stylegan2.task import StyleGAN2Task

  return StyleGAN2Task(config)
