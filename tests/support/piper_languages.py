"""What piper-tts reads without espeak-ng: texts, a voice of each kind, and a small model of Chinese."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from piper.config import PhonemeType, PiperConfig
from piper.phoneme_ids import DEFAULT_PHONEME_ID_MAP
from piper.voice import PiperVoice

from fastvits import VitsTokenizer
from fastvits.checkpoints.piper import settings as said
from tests.support import multilingual_texts

_ALSO = {"arabic": "arabic", "japanese": "japanese", "pinyin": "chinese"}
"""Kinds whose first texts are those of a language that the tokenizer's tests have."""

TEXTS: dict[str, list[str]] = {
    kind: [*multilingual_texts.TEXTS.get(_ALSO.get(kind, ""), []), *map(str.strip, lines.strip().splitlines())]
    for kind, lines in {
        "arabic": """
            ذهب الولد إلى المدرسة صباحا. ثم عاد إلى البيت.
            هذا كتاب مفيد، وذلك كتاب ممل.
            كم الساعة الآن؟ الساعة الخامسة!
            سافرت إلى دمشق وبيروت وعمّان.
            العلم نور والجهل ظلام
            درست في جامعة بغداد (العراق).
            قرأت الخبر على الإنترنت في 2024.
            بسم الله الرحمن الرحيم
            يا سيدي، من فضلك: افتح الباب.
            رقم الهاتف 0123456789
            لا شيء مستحيل
            Windows نظام تشغيل
            الماءُ والهواءُ
            أكل القطّ السمكة.
            سأل المعلم: ما اسمك؟ قال: أحمد.
            الثلج أبيض؛ الليل أسود
            مئة بالمئة 100%
            وصل القطار متأخرا - كالعادة
            """,
        "hebrew": """
            שלום עולם!
            מה שלומך היום?
            אני גר בירושלים.
            הכלב שלי חמוד מאוד
            היום יום שישי, ומחר שבת.
            בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ
            כמה זה עולה? עשרה שקלים.
            הספר על השולחן
            ילדים משחקים בגן.
            תודה רבה לך!
            צה"ל וארה"ב
            אני לומד עברית באוניברסיטה; זה קשה.
            הרכבת יוצאת בשעה 17:30
            (סוגריים) ו"מרכאות"
            אל תדאג, יהיה טוב…
            בוקר טוב, תל־אביב!
            השמש זורחת והציפורים שרות
            קפה עם חלב, בבקשה.
            איפה הספרייה?
            אמא ואבא בבית
            חג שמח לכולם!
            המחשב שלי לא עובד
            ג'ירפה וצ'יפס
            ירדן, מצרים, סוריה ולבנון
            שנת 2024 הייתה חמה
            אהבה
            לא.
            יוסי אמר: "אני בא".
            מזג האוויר נעים מאוד היום
            Hello שלום
            """,
        "japanese": """
            今日は東京へ行きます。明日は大阪です。
            すみません、駅はどちらですか。
            1.5メートルの高さ
            音楽を聞きながら勉強する。
            彼女は「本当？」と聞いた！
            寿司とラーメンが好きです
            電話番号は03-1234-5678です。
            キャンプファイヤー
            ちょっと待ってください！
            学校へ行って、友達と遊んだ。
            雨が降ったら、試合は中止です。
            アメリカ人とフランス人
            Hello、元気ですか
            三千五百円になります。
            えーと、そうですね。
            富士山は高いなあ
            ヴァイオリンを弾く
            お母さん
            新しいコンピューターを買いました。とても速いです。
            猫も杓子も
            """,
        "thai": """
            สวัสดีครับ
            ผมชื่อสมชาย
            วันนี้อากาศดีมาก
            คุณสบายดีไหม?
            ผมมีเงิน 1,250 บาท
            ไปไหนมา. ไปตลาด!
            กรุงเทพฯ เป็นเมืองหลวง
            เด็กๆ เล่นน้ำ
            ข้าวผัดกับไข่ดาว
            ขอบคุณมากค่ะ
            ปี ๒๕๖๗
            รถติดมาก
            แม่น้ำเจ้าพระยา
            หมาและแมว, นกและปลา
            ภาษาไทยไม่ยาก
            เขา เข้า ข้าว ขาว
            น้ำ 50% ของทั้งหมด
            ราคา ฿99.50
            โรงเรียน โรงพยาบาล ฯลฯ
            Hello สวัสดี
            ตอนเช้า ตอนเย็น
            เปิดประตูหน่อยครับ
            คอมพิวเตอร์
            วันจันทร์ วันอังคาร วันพุธ
            ทะเลสวยมาก!
            อุณหภูมิ -5 องศา
            หนังสือเล่มนี้สนุก
            พิมพ์ดีด
            นั่งลง; ยืนขึ้น
            ดอกไม้สีแดง
            """,
        "pinyin": """
            气温是-7°C
            完成了98.76%
            重庆的重量很重。
            银行行长在行走
            你是谁？我是王小明！
            Hello 你好
            好 的
            春眠不觉晓，处处闻啼鸟。
            绿色的女孩
            二〇二四年
            音乐和快乐
            我们都是好朋友。
            下雨了；快回家吧！
            长大以后
            这本书多少钱？
            谢谢
            他还没有还书
            电话：12345
            """,
    }.items()
}


def voice_settings(kind: str, phonemes: dict[str, list[int]] | None = None) -> dict[str, Any]:
    """The JSON file of a voice of a kind; its symbols are those that piper-tts trains with unless others are given."""
    if phonemes is None and kind == "pinyin":
        from piper.phonemize_chinese import PHONEME_TO_ID

        phonemes = PHONEME_TO_ID
    return {
        "audio": {"sample_rate": 22050},
        "espeak": {"voice": "ar" if kind == "arabic" else "en-us"},
        "phoneme_type": "espeak" if kind == "arabic" else kind,
        "phoneme_id_map": phonemes or DEFAULT_PHONEME_ID_MAP,
        "num_symbols": 256,
        "num_speakers": 1,
    }


def tokenizer(folder: Path, settings: dict[str, Any]) -> VitsTokenizer:
    """What a converted voice of these settings reads with."""
    folder.mkdir(parents=True, exist_ok=True)
    size = settings["num_symbols"]
    (folder / "vocab.json").write_text(json.dumps(said.vocabulary(settings, size)), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(said.tokenizer(settings, size)), encoding="utf-8")
    return VitsTokenizer.from_pretrained(folder)


def piper_ids(settings: dict[str, Any], texts: list[str], g2pw: Path | None = None) -> list[list[int]]:
    """The ids of each text, its sentences one after another, by piper-tts."""
    voice = PiperVoice(session=None, config=PiperConfig.from_dict(settings))
    if settings["phoneme_type"] == PhonemeType.PINYIN:
        from piper.phonemize_chinese import ChinesePhonemizer

        voice._chinese_phonemizer = ChinesePhonemizer(g2pw)
    return [
        [index for sentence in voice.phonemize(text) if sentence for index in voice.phonemes_to_ids(sentence)]
        for text in texts
    ]


def _table(listed: str) -> dict[str, str]:
    return dict(entry.split() for entry in listed.split(","))


def write_g2pw(folder: Path) -> Path:
    """A model of Chinese in the layout of g2pW that knows a few characters, two of them with two sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    several = {"重": ("ㄓㄨㄥ4", "ㄔㄨㄥ2"), "行": ("ㄒㄧㄥ2", "ㄏㄤ2"), "长": ("ㄔㄤ2", "ㄓㄤ3")}
    one = _table(
        "你 ㄋㄧ3, 好 ㄏㄠ3, 我 ㄨㄛ3, 的 ㄉㄜ5, 是 ㄕ4, 绿 ㄌㄩ4, 女 ㄋㄩ3, 二 ㄦ4, 银 ㄧㄣ2, 庆 ㄑㄧㄥ4, "
        "量 ㄌㄧㄤ4, 很 ㄏㄣ3, 大 ㄉㄚ4, 一 ㄧ1, 三 ㄙㄢ1, 点 ㄉㄧㄢ3, 十 ㄕ2, 百 ㄅㄞ3, 分 ㄈㄣ1, 之 ㄓ1, "
        "千 ㄑㄧㄢ1, 年 ㄋㄧㄢ2, 度 ㄉㄨ4, 零 ㄌㄧㄥ2"
    )
    pairs = [(character, sound) for character, sounds in several.items() for sound in sounds]
    pinyin = _table(
        "ㄓㄨㄥ zhong, ㄔㄨㄥ chong, ㄒㄧㄥ xing, ㄏㄤ hang, ㄔㄤ chang, ㄓㄤ zhang, ㄋㄧ ni, ㄏㄠ hao, "
        "ㄨㄛ wo, ㄉㄜ de, ㄕ shi, ㄌㄩ lu:, ㄋㄩ nu:, ㄦ er, ㄧㄣ yin, ㄑㄧㄥ qing, ㄌㄧㄤ liang, ㄏㄣ hen, "
        "ㄉㄚ da, ㄧ yi, ㄙㄢ san, ㄉㄧㄢ dian, ㄅㄞ bai, ㄈㄣ fen, ㄓ zhi, ㄑㄧㄢ qian, ㄋㄧㄢ nian, "
        "ㄉㄨ du, ㄌㄧㄥ ling"
    )
    (folder / "POLYPHONIC_CHARS.txt").write_text("\n".join(map("\t".join, pairs)) + "\n", encoding="utf-8")
    (folder / "MONOPHONIC_CHARS.txt").write_text("\n".join(map("\t".join, one.items())) + "\n", encoding="utf-8")
    (folder / "bopomofo_to_pinyin_wo_tune_dict.json").write_text(json.dumps(pinyin), encoding="utf-8")
    (folder / "char_bopomofo_dict.json").write_text(json.dumps({"星": ["ㄒㄧㄥ1"]}), encoding="utf-8")
    (folder / "bert-base-chinese_s2t_dict.txt").write_text("们\t們\n", encoding="utf-8")
    words = folder / "bert"
    words.mkdir(exist_ok=True)
    characters = sorted({character for text in TEXTS["pinyin"] for character in text if not character.isspace()})
    (words / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]), "utf-8")
    (folder / "config.py").write_text(f"model_source = {str(words)!r}\n", encoding="utf-8")
    # The sound that the position chooses, among those that the character has.
    labels = sorted({sound for _, sound in pairs})
    weights = np.random.default_rng(0).random((64, len(labels)), dtype=np.float32) + 0.1
    inputs = ["input_ids", "token_type_ids", "attention_mask", "char_ids", "position_ids"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["weights", "position_ids"], ["scores"], axis=0),
            helper.make_node("Mul", ["scores", "phoneme_mask"], ["probs"]),
        ],
        "g2pw",
        [
            *(helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in inputs),
            helper.make_tensor_value_info("phoneme_mask", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "weights")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8), str(folder / "g2pw.onnx"))
    return folder
