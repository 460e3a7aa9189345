"""Sentences in many scripts for the tokenizer's tests: plain ones, and ones with figures, marks, quotes and emojis."""

TEXTS: dict[str, list[str]] = {
    language: [line.strip() for line in lines.strip().splitlines()]
    for language, lines in {
        "english": """
            Hello, my dog is cute.
            The quick brown fox jumps over the lazy dog
            KNOCK, KNOCK! Who's there?
            Kick the bucket, Kathryn; take a book back.
            It's 10 o'clock on 3 March 2024 — hurry up!
            She said: “I can't; I won't.” Then (quietly) she left…
            The café's crème brûlée cost $4.50 & was naïve.
            e-mail me@example.com or see https://example.org/a_b?c=d
            WE NEED MORE THAN 1,234.5 KILOGRAMS
            trekk kk k Kk kK
            Mr. Smith's 2nd cat (aged 5) weighs 4 kg, I think
            Wait   for    it...   now!!!
            A line that ends here
            "Quoted" 'single' ‘curly’ «guillemets» [brackets] {braces}
            100% sure? 50/50; a+b=c, x<y>z
            Ok 🙂 thanks 👍🏽 see you 👨‍👩‍👧‍👦 soon
            """,
        "german": """
            Der Hund ist süß, und die Straße ist groß.
            Äpfel, Öl und Übermut kosten 12,50 €!
            „Komm doch“, sagte sie – „es ist spät.“
            Die Fußgänger überqueren die STRASSE.
            Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich
            Warum nicht? Weil's zu kalt ist.
            Der 3. Oktober ist ein Feiertag.
            Die Größe beträgt 1,85 m; das Gewicht 80 kg.
            Donaudampfschifffahrtsgesellschaftskapitän
            Ich heiße Jürgen, und du?
            Kein Käse, kein Kuchen, kein Kaffee.
            Viele Grüße aus Köln!
            Er läuft schnell … sehr schnell.
            ÄÖÜ äöü ß ẞ
            """,
        "french": """
            Ça va bien, merci ; et vous ?
            L'été dernier, nous étions à la plage.
            Où est la bibliothèque ? Là-bas, à côté du musée.
            Le cœur a ses raisons que la raison ne connaît point.
            « Non », dit-elle, « je n'irai pas ! »
            Il a payé 25 € pour un gâteau à l'œuf.
            Voix ambiguë d'un cœur qui préfère les jattes de kiwis
            Noël approche : préparez vos cadeaux…
            C'est l'heure d'aller à l'école, n'est-ce pas ?
            Un naïf garçon français mangeait des maïs.
            ÊTRE OU NE PAS ÊTRE
            Aujourd'hui, il fait -3 °C à Besançon.
            Déjà vu, coûte que coûte
            """,
        "romanian": """
            Bună ziua, ce mai faceți?
            Țara noastră are munți și păduri.
            Ştiinţa și știința se scriu la fel?
            Îmi place să citesc cărți în fiecare zi.
            În București plouă; la Constanța e soare.
            Ț ț Ţ ţ Ș ș Ş ş Ă ă Â â Î î
            Prețul este de 15 lei, nu-i așa?
            Mulțumesc frumos! Cu plăcere.
            Câți ani ai? Am douăzeci și trei.
            Muzicologă în bej vând whisky și tequila, preț fix
            O să vină și Ștefan, și Traian.
            Fața lui era palidă…
            """,
        "russian": """
            Привет, мир! Как дела?
            Съешь ещё этих мягких французских булок, да выпей чаю.
            В 2024 году было 366 дней.
            МОСКВА — столица России.
            Ёжик в тумане; ёлка в огнях.
            «Кто там?» — спросил он.
            Это стоит 100 рублей, не так ли?
            Хорошая погода сегодня…
            Я люблю читать книги и слушать музыку.
            Объявление: подъезд закрыт!
            Где находится вокзал?
            Щука, цапля, жираф и юла.
            Спасибо большое 🙂
            """,
        "hindi": """
            नमस्ते, आप कैसे हैं?
            मेरा कुत्ता बहुत प्यारा है।
            भारत में १२३ भाषाएँ बोली जाती हैं।
            क्या यह 45 रुपये का है?
            सूरज पूर्व से निकलता है॥
            हिन्दी भाषा सीखना आसान है!
            मुझे पढ़ना और लिखना पसंद है।
            दिल्ली, मुंबई और कोलकाता बड़े शहर हैं।
            ज़िंदगी बहुत ख़ूबसूरत है।
            कृपया दरवाज़ा बंद कीजिए।
            श्री राम ने कहा, "चलो।"
            ॐ शान्तिः
            """,
        "arabic": """
            مرحبا، كيف حالك؟
            اللُّغَةُ العَرَبِيَّةُ جَمِيلَةٌ
            عندي ٣ كتب و 25 قلما.
            الكلب لطيف جدا!
            أين المكتبة؛ هل هي بعيدة؟
            شكرا جزيلا لك
            القاهرة عاصمة مصر.
            قال: «لا أعرف».
            الطقس اليوم حارّ…
            أحب القراءة والكتابة
            إلى اللقاء
            ـــ كشيدة ـــ
            """,
        "chinese": """
            你好，世界！
            我的狗很可爱。
            今天是2024年3月5日，星期二。
            请问，图书馆在哪里？
            他说：“我不知道。”
            北京是中国的首都；上海是最大的城市。
            天气很好……我们去公园吧
            一二三四五六七八九十
            我喜欢看书、听音乐。
            繁體字：臺灣、學習、語言
            价格是￥99.80元（含税）
            〇々〆
            """,
        "amharic": """
            ሰላም፣ እንዴት ነህ?
            ውሻዬ በጣም ቆንጆ ነው።
            አዲስ አበባ የኢትዮጵያ ዋና ከተማ ናት።
            ዛሬ ፳፬ ቀን ነው
            እባክህ በሩን ዝጋ!
            መጽሐፍ ማንበብ እወዳለሁ፤ ሙዚቃም።
            ስንት ነው? 50 ብር።
            አመሰግናለሁ
            ቤተ መጻሕፍት የት አለ፧
            ነገ እንገናኝ
            """,
        "greek": """
            Γειά σου, κόσμε! Τι κάνεις;
            Ο σκύλος μου είναι χαριτωμένος.
            Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.
            ΟΔΟΣ ΣΟΦΟΣ ΣΙΣΥΦΟΣ
            Κοστίζει 12,30 € · πολύ ακριβό;
            «Ναι», είπε εκείνη.
            Ξεσκεπάζω την ψυχοφθόρα βδελυγμία
            ἐν ἀρχῇ ἦν ὁ λόγος
            Καλημέρα και καληνύχτα…
            Ευχαριστώ πολύ!
            """,
        "turkish": """
            Merhaba dünya, nasılsın?
            İstanbul'da ılık bir gün.
            IŞIK ve ışık, İĞNE ve iğne
            Pijamalı hasta yağız şoföre çabucak güvendi.
            Bu kitap 45,90 lira mı?
            Çok teşekkür ederim!
            Öğrenci okula gitti; öğretmen bekliyor.
            Köpeğim çok şirin…
            Üç, beş, on iki
            Diyarbakır'ın ışıkları
            """,
        "vietnamese": """
            Xin chào, bạn khỏe không?
            Con chó của tôi rất dễ thương.
            Hà Nội là thủ đô của Việt Nam.
            Tiếng Việt có sáu thanh điệu: à á ả ã ạ a.
            Giá là 20.000 đồng!
            Đường này đi đâu?
            Cảm ơn rất nhiều
            Tôi thích đọc sách và nghe nhạc.
            Hẹn gặp lại ngày 5 tháng 6…
            ĂÂĐÊÔƠƯ ăâđêôơư
            """,
        "korean": """
            안녕하세요, 세계!
            제 강아지는 아주 귀여워요.
            오늘은 2024년 3월 5일입니다.
            도서관이 어디에 있어요?
            "몰라요"라고 그가 말했다.
            서울은 한국의 수도이다.
            감사합니다 ㅋㅋㅋ
            가격은 9,900원이에요!
            책을 읽는 것을 좋아해요…
            다람쥐 헌 쳇바퀴에 타고파
            """,
        "japanese": """
            こんにちは、世界！
            私の犬はとても可愛いです。
            今日は２０２４年３月５日です。
            図書館はどこですか？
            「知らない」と彼は言った。
            カタカナとひらがなと漢字
            ﾊﾝｶｸ ｶﾀｶﾅ
            東京は日本の首都です…
            ありがとうございます🙇
            いろはにほへと　ちりぬるを
            """,
        "hebrew and others": """
            שָׁלוֹם עוֹלָם, מה שלומך?
            הכלב שלי חמוד מאוד.
            ภาษาไทยไม่มีช่องว่างระหว่างคำ
            สวัสดีครับ ราคา ๕๐ บาท
            தமிழ் மொழி மிகவும் பழமையானது.
            বাংলা ভাষা সুন্দর।
            ქართული ენა ლამაზია!
            Հայերեն լեզուն գեղեցիկ է։
            မြန်မာဘာသာ
            ភាសាខ្មែរ
            ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ
            Yorùbá: Ẹ káàárọ̀, ṣé dáadáa ni?
            Ɛyɛ, meda wo ase; Twi kasa
            Íslenska: Þetta er ágætt, ekki satt?
            Čeština: Příliš žluťoučký kůň úpěl ďábelské ódy.
            Polski: Zażółć gęślą jaźń!
            Magyar: Árvíztűrő tükörfúrógép
            Español: ¿Cómo estás? ¡Muy bien, señor Ñandú!
            Português: Não há ação sem reação, João.
            Malagasy: Manao ahoana ianao?
            """,
    }.items()
}

# What goes wrong elsewhere: nothing at all, only spaces, special tokens as text, marks alone, combining marks.
ODD_TEXTS: list[str] = [
    "",
    " ",
    "   \t ",
    "\n",
    "k",
    "kk",
    "K",
    " k ",
    "akkb",
    "kakak",
    "?!",
    "…—–",
    "é",
    "e\u0301",
    "a\u0323\u0302\u0301b\u0308",
    "\u0301",
    "ﬁ ﬂ ½ ² Ⅷ ①",
    "İstanbul ǅ ß ŉ",
    "<pad>",
    "<unk>",
    "<PAD> <UNK> <Unk>",
    "a<unk>b<pad>c",
    "<unk>k<pad>k",
    "< unk >",
    "line one\nline two\r\nline three\n\nline five",
    "tab\tseparated\u00a0no-break\u2009thin\u3000wide",
    "zero\u200bwidth\u200djoiner\ufeffmark",
    "🙂",
    "🇩🇪🇫🇷 👩🏾‍🚀",
    "_ ^ $ | # ~ _",
    "--- ' '' '-'",
    "0123456789",
    "x" * 200,
    "\x00\x07\x1b",
    "\U0001d49c\U0001d4b7",
    "mixed Кириллица und 漢字 و عربي",
]

ALL_TEXTS: list[str] = [text for texts in TEXTS.values() for text in texts] + ODD_TEXTS
