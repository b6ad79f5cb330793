"""Word lists of many languages, for voices that are to say something with the sounds of each.

Thirty to forty everyday words a language, chosen for their sounds: lips that close (/p b m/) in every position, all
vowels, rounded and spread, clusters. Strings of such words are no sentences; to an ear that learns how mouths move they
are as good.
"""

from __future__ import annotations

import numpy as np

from jaxtalk.core import InputError

_STREAM = 0x464F5245  # "FORE"

_WORDS = {
  "af": """mamma boom appel kombuis maandag pampoen bobbejaan water vrou blou lepel lig huis groen skaap vyf seun baie
    probleem oom somer winter perd koppie mooi pappa amper kuier oggend jaar sewe eier tuin gemaak""",
  "bg": """мама баба хляб маса ябълка бряг път планина момиче прозорец вода пиле слънце зима лампа бебе молив книга
    щъркел жаба чаша шапка цвете юнак къпина бомба пумпал обувка джоб вълк""",
  "ca": """mare pare poma platja cambra ampolla bombolla llum cavall fulla xocolata bon dia setmana temps home dona
    cuina peix jove pluja bombeta camp primavera moble gos ull vermell blau muntanya bebè""",
  "cmn": """妈妈 爸爸 苹果 朋友 面包 不怕 跑步 白天 明天 木马 毛笔 蚂蚁 漂亮 房子 飞机 喝水 吃饭 学校 老师 月亮 星星
    雨伞 女孩 绿色 热狗 日出 森林 春天 兄弟 买票 部门 宝贝""",
  "cs": """máma bába babička pampeliška bílý pes jablko lampa příběh míč můj dům bubák řeka hřib kůň žába ulice pomeranč
    zmrzlina čtyři blecha tramvaj vlk prst sníh medvěd ryba kapr proměna obloha""",
  "cy": """mam tad bara pabell môr mynydd bwrdd llyfr dŵr coch glas pump pobl bach mawr pysgod llwynog haul lleuad
    gwynt eira ffenestr ysgol amser bore prynhawn plant cwmwl popty bwced""",
  "da": """mor barn bamse lampe æble blomst papir sommer bord brød hund kat øje gul grøn bløde mælk pige dreng himmel
    bjørn pude kop løbe hjem fugl computer banan spise tømmer""",
  "de": """Mama Papa Bube Blume Lampe Apfel Himmel Baum Pflaume Pferd kommen bleiben schwimmen lieben üben Mücke Brücke
    böse schön Kröte Bäume Löwe Puppe Suppe Schmetterling Abend Morgen Kampf Sumpf Bombe komisch fröhlich zwölf ich
    Milch Nacht Buch spielen""",
  "el": """μαμά μπαμπάς μπάλα μήλο ψωμί παπούτσι αμπέλι καμπάνα βιβλίο φεγγάρι θάλασσα δέντρο σπίτι γάτα ποτάμι χιόνι
    βροχή πεπόνι μέλισσα κόμπος ήλιος ουρανός παιδί ψάρι ξύλο τζάκι μπλε σαμπάνια μπορώ τύμπανο""",
  "en-us": "",
  "en-gb": "",
  "en-gb-scotland": "",
  "eo": """patrino bebo pomo lampo blua bona monto ĉambro ŝipo ĝardeno ĵurnalo domo hundo ĉevalo libro papero muŝo
    papilio bombo kampo pluvo somero vintro rapida amiko popolo hejmo ŝtono akvo aŭtuno""",
  "es": """mamá papá abuelo bebé bombón lámpara manzana pepino sombra tiempo campo árbol perro pájaro lluvia llave
    cebolla jamón guitarra queso ambulancia mariposa pueblo bombero mañana hombre hambre nube primo copa leche""",
  "et": """ema isa poiss maja lamp õun puu kapp pimm öö jäärm sõber hobune mõmm pall küpsis müts lumi vihm suvi tüdruk
    imelik pööning tempel komm banaan karu jõgi kümme raamat""",
  "fi": """äiti mummo pappi omena lamppu poika pöytä yö kissa kuppi tyttö metsä kampa ämpäri pampula hämähäkki lumi
    bussi banaani puu kaappi hyppää maamme pimeä kesä työ löyly juoksee veli rumpu""",
  "fr-fr": """maman papa bébé bonbon lampe pomme chambre jambe pain bateau beau peur bleu plume lune rouge feuille
    montagne printemps parapluie homme femme champignon bibliothèque poupée main brun tombe compote œuf ombre""",
  "hi": """माँ बाबा पापा पानी आम पेड़ बम कबूतर मछली भालू फूल बंदर मम्मी कमल अंगूर लंबा बिल्ली चम्मच गेंद ऊँट
    झूला खिड़की मौसम भाई बाप पंप हिम धूप थैला घोड़ा""",
  "hr": """mama baba beba jabuka lampa bomba most brod pas mačka ljubav njiva kuća đak džep žaba šuma čaša prijatelj
    pomoć primjer more plavo obrva kupus zima ptica vrt bubamara smijeh""",
  "hu": """mama apa baba alma lámpa bomba templom szobám ablak kép hóember méhecske gyümölcs kutya pillangó bőr többet
    csúszda zsömle víz űrhajó ember barát embernek kolompol hab csomag piros cipő anyám""",
  "id": """ibu bapak mama bambu lampu pohon apel bulan bintang hujan payung mobil empat kampung sambal rambut jambu
    kupu ombak nyamuk bebek ayam sepeda selamat minum tempat pisang kebun embun sumpit""",
  "is": """mamma pabbi barn epli lampi blóm hestur fjall sumar himinn bók brauð köttur hundur kaupa þumall rúm sími
    bolti kampur heimur ömmubarn snjór blár björn skóli vambir hjálpa steinn""",
  "it": """mamma papà bambino lampada mela pomodoro bambola ombrello gamba tempo bello gnomo figlio scimmia ciliegia
    chiave zebra piuma babbo campo ambra pioppo cappello gomma abbiamo compro nebbia uomo luna acqua""",
  "ja": """まま ぱぱ ばば りんご みず ぼうし さんぽ えんぴつ てんぷら とんぼ かばん しんぶん ともだち むし まめ ぶどう
    ひこうき ふね おんな つき あめ ぺんぎん ぴあの ばなな きのこ さくら ゆうびん きっぷ はっぱ うみ""",
  "ko": """엄마 아빠 바람 밥 나비 김밥 밤 봄 여름 물 뽀뽀 포도 펭귄 비누 마음 아침 저녁 토끼 호랑이 의자 우유 사과 구름
    음악 입 잎 감 빵 꿈 배""",
  "lt": """mama baba obuolys lempa upė namas bulvė šuo katė žiema pampuška ąžuolas bitė boba dėdė čiuožti pieva komp
    mėlynas šiluma gražus jūra dumblas imti kampas bambėti lopšys pupa mėnuo""",
  "lv": """māte bēbis ābols lampa upe māja bumba kumpis zeme šalle žāvēt čiekurs ķiršis ļoti ņemt ģimene pūce brālis
    puķe jūra debess mēness sapnis komp vasara ziema zaļš roka tumba""",
  "nb": """mamma pappa barn eple lampe bjørn blomst sommer bord brød hund katt øye grønn bløt melk jente gutt himmel
    pute kopp løpe hjem fugl dumpe banan spise båt tømmer kjøre""",
  "nl": """mama papa boom appel lamp bloem brood maan kamer pop bij huis muis neus deur groen schip vliegtuig trommel
    paprika bombarie hemel computer oom buik lepel zomer kapper ijs emmer""",
  "pl": """mama baba lampa jabłko chłopiec pies pszczoła bąbel ząb dąb książka żaba szum czapka ciepło źrebak rzeka
    dziecko pomidor śnieg zamek zima pompa bomba kapusta imię miód bęben wąż ptak""",
  "pt-br": """mamãe papai bebê bombom lâmpada maçã pombo tempo campo pão mão manhã chuva folha lhama jabuti árvore
    cachorro borboleta umbigo limpo bom homem povo amigo abelha pipa sombra samba""",
  "ro": """mama papa bebe lampă măr pâine umbrelă câmp copil pom iarbă brânză ploaie ceapă ghem zăpadă băiat albină
    timp bomboană prieten munte apă împreună lebădă cumpăr fluture primăvară bombă""",
  "ru": """мама папа баба лампа яблоко пирог бабушка медведь пампушка бублик небо рыба помпа бомба щука жук шапка чай
    цирк юла ёжик мяч любовь камень имя объём пять вьюга комп время""",
  "sk": """mama babka lampa jablko pes ľúbim dážď čučoriedka obloha kôň ťava ďateľ šípka žaba pampúch zmrzlina bubon
    chlapec mäso pohľad vŕba brat máme ponuka bomba komín""",
  "sq": """mami babi mollë lampë bukë peshk bletë shtëpi dhomë zog qen mace gjumë njeri xham yll ujë pemë bombë kampion
    tempull bebe ëmbël çelës libër""",
  "sv": """mamma pappa barn äpple lampa björn blomma sommar bord bröd hund katt öga grön mjölk flicka pojke himmel kudde
    kopp springa hem fågel dumpa banan spela båt sjuk skjorta humla""",
  "sw": """mama baba mbwa mbuzi embe pembe jembe maji moto nyumba samaki ndoto mvua mpira mpishi mbili pamoja papai
    kabati simba tembo ng'ombe chumba dhahabu ghali thelathini mwalimu bwana kumbuka boma""",
  "tr": """anne baba bebek elma lamba köpek kapı balon bulut pembe pamuk yağmur çiçek böcek ömür üzüm kumbara tembel
    kitap bambu gömlek ip sabah cambaz ışık ılık şimşek dübeş boş mum""",
  "uk": """мама баба лампа яблуко хліб бджола пампушка бабуся небо риба бомба щука жук шапка чай ґудзик їжак єнот
    ведмідь любов камінь ім'я об'єм п'ять вітер обід земля цукерка помпа зима""",
  "vi": """mẹ ba bé bóng mưa lửa bàn bắp cơm mềm bốn pin phim trăng nhà nước đêm tạm biệt bướm bơi màu vườn xe đạp
    khủng long mập mạp búp bê tháp""",
}
WORDS: dict[str, tuple[str, ...]] = {name: tuple(words.split()) for name, words in _WORDS.items()}

HELD_OUT = ("bg", "el", "en-gb-scotland", "hu", "id", "nl")
LANGUAGES = tuple(name for name in WORDS if name not in HELD_OUT)


def utterances(language: str, seed: int, count: int) -> list[str]:
  """``count`` strings of three to nine words of a language of ``WORDS``; for English, sentences of the grammar.

  Raises InputError for a language that has no list.
  """
  if language not in WORDS:
    raise InputError(f"there is no word list of language {language!r}: one of {', '.join(WORDS)}")
  if not WORDS[language]:
    from jaxtalk.data.sentences import sentences

    return sentences(seed, count)
  rng = np.random.default_rng(np.random.SeedSequence([seed, _STREAM, list(WORDS).index(language)]))
  return [_utterance(rng, WORDS[language]) for _ in range(count)]


def _utterance(rng: np.random.Generator, words: tuple[str, ...]) -> str:
  drawn = [words[i] for i in rng.choice(len(words), size=rng.integers(3, 10), replace=False)]
  if len(drawn) > 4 and rng.random() < 0.4:
    drawn[rng.integers(1, len(drawn) - 1)] += ","
  text = " ".join(drawn) + "..?!"[rng.integers(4)]
  return text[0].upper() + text[1:]
