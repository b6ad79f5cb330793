"""One short, fully labelled clip of a talking child: the default of ``python generate.py``.

Every clip is a function of ``seed`` and its number: what is left unset (None) is drawn from them, so another seed is
another child, sentence, mood and camera, and a set value pins that one thing and nothing else.

Cost: a quarter of a minute on two cores the first time (JAX compiles), half of that afterwards.

  python generate.py
  python generate.py --config.text="I found a snail in the garden!" --config.person.age=6 --config.person.gender=girl
  python generate.py --config.num_clips=20 --config.size=512 --config.emotion.label=happy --out=happy
  python generate.py --config.audio=recording.wav
"""

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
  config = ConfigDict()
  config.seed = 7  # another seed, other clips; the same seed, the same bytes
  config.num_clips = 1  # how many; clip number n does not depend on how many follow it

  # What is said: at most one of the three; with none of them a built-in sentence is drawn.
  config.text = placeholder(str)  # the words to say
  config.texts_file = placeholder(str)  # a text file with one sentence a line; clip n says line n, round and round
  config.audio = placeholder(str)  # a recording to speak with instead of text: WAV, FLAC, OGG, MP3
  config.language = placeholder(str)  # of the text (BCP-47); by default that of the voice, which is en for hibari
  config.voice = ConfigDict()
  config.voice.name = "hibari"  # hibari, or espeak / espeak:de (pip install 'jaxtalk[espeak]')

  config.person = ConfigDict()
  config.person.age = placeholder(float)  # years, 3 to 80; drawn from 3 to 12
  config.person.gender = placeholder(str)  # girl, boy, woman, man, female, male
  config.person.ancestry = FieldReference(None, field_type=object)  # african, asian, european, mixed, or weights 1,0,1
  config.person.skin = placeholder(int)  # Monk skin tone, 1 lightest to 10 darkest
  config.person.hair = placeholder(str)  # buzz, short, side_part, messy, curly, bob, long, ponytail, pigtails, buns ...
  config.person.hair_colour = placeholder(str)  # black, dark_brown, brown, light_brown, dark_blond, blond, red, grey
  config.person.eye_colour = placeholder(str)  # dark_brown, brown, hazel, green, blue, grey
  config.person.freckles = placeholder(float)  # 0 none to 1 many
  config.person.clothes = placeholder(str)  # tshirt, polo, sweater, hoodie, dungarees
  config.person.clothes_colour = placeholder(str)  # red, coral, mustard, sage, green, teal, sky, navy, lilac, pink ...

  config.emotion = ConfigDict()
  config.emotion.label = placeholder(str)  # neutral, happy, sad, angry, surprised, fearful, disgusted
  config.emotion.intensity = placeholder(float)  # 0 to 1

  config.style = ConfigDict()  # factors around 1
  config.style.articulation = placeholder(float)  # mouth movement, 0.3 to 2
  config.style.expressiveness = placeholder(float)  # brow and cheek accents, 0 to 2
  config.style.head = placeholder(float)  # head motion, 0 to 2
  config.style.blink_rate = placeholder(float)  # blinks a minute, 0 to 60
  config.style.gaze_aversion = placeholder(float)  # share of time looking away, 0 to 1
  config.style.asymmetry = placeholder(float)  # left-right difference of the lower face, -1 to 1
  config.style.like = placeholder(str)  # .json of a clip made before: speak in its style; what is given above wins

  config.camera = ConfigDict()
  config.camera.yaw = placeholder(float)  # degrees, -90 to 90; + moves the camera to the person's left
  config.camera.pitch = placeholder(float)  # degrees, -45 to 45; + looks down
  config.camera.framing = "shoulders"  # shoulders or face: how near the camera is where no distance is given
  config.camera.distance = placeholder(float)  # metres, 0.4 to 5
  config.camera.focal_mm = placeholder(float)  # 35 mm equivalent, 24 to 300

  config.light = ConfigDict()
  config.light.key_yaw = placeholder(float)  # degrees, -180 to 180; + comes from the person's left
  config.light.key_pitch = placeholder(float)  # degrees, -10 to 90; + comes from above
  config.light.key_intensity = placeholder(float)  # 0 to 4, 1 is usual
  config.light.environment = placeholder(str)  # what lights the face: studio, window, warm, garden, evening
  config.light.environment_intensity = placeholder(float)  # 0 to 4, 1 is usual
  config.background = "auto"  # plain, playroom, garden, lights, or a colour #rrggbb; auto draws one

  config.size = 256  # pixels, width and height: even, 64 to 1024
  config.fps = FieldReference(25, field_type=object)  # frames a second, 5 to 120; also 30000/1001
  config.animator = "auto"  # learned (a network hears the voice), procedural (phones), audio (energy); auto: learned
  config.learned = ConfigDict()
  config.learned.weights = ""  # of train.py --config=configs/motion_flow.py; empty: those that ship
  config.learned.steps = 4  # of the sampler: 1, 2, 4, 8 or 50
  config.learned.speech = 1.0  # guidance, 0 to 4: 1 is as learnt, more follows the voice more
  config.learned.manner = 1.0  # guidance, 0 to 4: more shows emotion, style and age more
  config.renderer = "studio"  # motion to pictures: studio is the built-in head, stylegan2 a network that learnt from it
  config.portrait = ConfigDict()
  config.portrait.weights = ""  # of train.py --config=configs/talking_portrait.py; empty: those that ship
  config.portrait.domain = "studio"  # whose pictures it draws: studio, or other, where the weights learnt from others

  config.outputs = ConfigDict()  # files next to every clip, besides mp4, wav, json and npz
  config.outputs.segmentation = False  # .seg.npz: (T, H, W) uint8 classes
  config.outputs.depth = False  # .depth.npz: (T, H, W) uint16 millimetres, 0 is background
  config.outputs.normals = False  # .normals.npz: (T, H, W, 3) float16, camera axes
  config.outputs.livelink_csv = False  # .livelink.csv: ARKit curves at 60 fps for Unreal and others
  config.outputs.png_frames = False  # .frames/00000.png ...: the pictures before video compression
  return config
